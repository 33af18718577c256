package api

import (
	"encoding/json"
	"fmt"
	"time"
)

// Duration is a span of time in JSON: a string such as "1.5s" or "200ms", or a number of milliseconds. It is written as a string.
type Duration time.Duration

// D is the duration in Go's own type.
func (d Duration) D() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes Go's form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalJSON reads both forms. It does not judge the value: Check does.
func (d *Duration) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var text string
	if json.Unmarshal(b, &text) == nil {
		span, err := time.ParseDuration(text)
		*d = Duration(span)
		if err != nil {
			return fmt.Errorf(`%q is no duration: write one such as "1.5s" or "200ms", or a number of milliseconds`, text)
		}
		return nil
	}
	var ms float64
	if err := json.Unmarshal(b, &ms); err != nil || ms < -maxMillis || ms > maxMillis {
		return fmt.Errorf(`%s is no duration: write one such as "1.5s" or "200ms", or a number of milliseconds`, b)
	}
	*d = Duration(ms * float64(time.Millisecond))
	return nil
}

// maxMillis keeps a number of milliseconds inside time.Duration.
const maxMillis = 9e12
