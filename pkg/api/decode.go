package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// Checker is a message that knows what its fields may hold. The error of Check is a sentence for the person who sent it.
type Checker interface{ Check() error }

// List is a slice that is never null in JSON: the empty one is [].
type List[T any] []T

// MarshalJSON implements json.Marshaler.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// Parse reads the options of a request and checks them. Empty data, null, `{}` and `[]` are all defaults; of `[{…}]`, the
// arguments of a call, the first is taken.
func Parse[T Checker](data []byte) (T, error) {
	var options T
	data, err := argument(data)
	if err == nil && len(data) > 0 {
		err = decode(data, &options)
	}
	if err == nil {
		err = options.Check()
	}
	if err != nil {
		var none T
		return none, err
	}
	return options, nil
}

// argument unwraps the first of an array of arguments, if it is one.
func argument(data []byte) ([]byte, error) {
	if len(data) > MaxRequest {
		return nil, fmt.Errorf("the request has %d bytes of options, %d are allowed", len(data), MaxRequest)
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 || data[0] != '[' {
		return data, nil
	}
	var arguments []json.RawMessage
	if err := decode(data, &arguments); err != nil {
		return nil, err
	}
	switch len(arguments) {
	case 0:
		return nil, nil
	case 1:
		return arguments[0], nil
	}
	return nil, fmt.Errorf("the request has %d arguments, one object of options is allowed", len(arguments))
}

// Decode reads an answer, and checks it if it is a Checker.
func Decode[T any](data []byte) (T, error) {
	return unmarshal[T](data, MaxAnswer, "answer")
}

// unmarshal reads a message of at most limit bytes and checks it.
func unmarshal[T any](data []byte, limit int, what string) (T, error) {
	var v, none T
	if len(data) > limit {
		return none, fmt.Errorf("the %s has %d bytes, %d are allowed", what, len(data), limit)
	}
	if err := decode(data, &v); err != nil {
		return none, fmt.Errorf("the %s cannot be read: %w", what, err)
	}
	if c, ok := any(v).(Checker); ok {
		if err := c.Check(); err != nil {
			return none, fmt.Errorf("the %s makes no sense: %w", what, err)
		}
	}
	return v, nil
}

// marshal writes a message after checking it, in at most limit bytes.
func marshal(v Checker, limit int, what string) ([]byte, error) {
	if err := v.Check(); err != nil {
		return nil, fmt.Errorf("the %s makes no sense: %w", what, err)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("cannot write the %s: %w", what, err)
	}
	if len(data) > limit {
		return nil, fmt.Errorf("the %s has %d bytes, %d are allowed", what, len(data), limit)
	}
	return data, nil
}

// decode is json.Unmarshal with errors for the person who wrote the JSON, not for who wrote the structs.
func decode(data []byte, to any) error {
	err := json.Unmarshal(data, to)
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if e.Field == "" {
			return fmt.Errorf("%s is needed, not %s", kindOf(e.Type), article(e.Value))
		}
		return fmt.Errorf("%q is %s, not %s", e.Field, kindOf(e.Type), article(e.Value))
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("no valid JSON at byte %d: %w", e.Offset, e)
	}
	return err
}

func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Float64:
		return "a number"
	case reflect.Uint, reflect.Uint64:
		return "a whole number of 0 or more"
	}
	return "a whole number"
}

func article(value string) string {
	switch value {
	case "array", "object":
		return "an " + value
	case "bool":
		return "true or false"
	case "string", "number":
		return "a " + value
	}
	return value // such as "number 1.5"
}
