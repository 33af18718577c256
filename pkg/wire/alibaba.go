package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Alibaba's clients ask each broker for its health as they connect and every 15 s, whatever their own data type, and hang up
// on any other answer than an Integer of 1 as Hessian writes it (LoadBalancedRSocket.healthCheck in alibaba-rsocket-core 1.1.6).
const (
	RouteHealth   = "com.alibaba.rsocket.health.RSocketServiceHealth.check"
	HealthServing = 0x91
)

// App is what a client of Alibaba's broker says of itself in SETUP, as JSON in an entry of type MIMEApp. Its broker refuses a
// SETUP without it (RST-500411). Fields that are not needed here are left to the broker's defaults.
type App struct {
	UUID     string            `json:"uuid"` // at least 32 characters, new for each SETUP
	Name     string            `json:"name,omitempty"`
	IP       string            `json:"ip,omitempty"`
	Device   string            `json:"device,omitempty"`   // the kind of machine
	Topology string            `json:"topology,omitempty"` // "intranet" or "internet"
	SDK      string            `json:"sdk,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"` // what e=key:value in a request's routing matches
}

// ParseApp reads the body of an app entry, as a copy. Unknown fields are ignored.
func ParseApp(body []byte) (App, error) {
	var a App
	err := parseJSON(body, "application metadata", &a)
	return a, err
}

// Append appends the body of an app entry.
func (a App) Append(dst []byte) ([]byte, error) {
	if len(a.UUID) < 32 {
		return dst, cannot("application uuid", ErrInvalid)
	}
	return appendJSON(dst, "application metadata", a)
}

// Registry lists the services of a client of Alibaba's broker, as JSON in an entry of type MIMERegistry.
type Registry struct {
	Published []Published `json:"published"`
}

// Published is one service. GSV, `[group!]service[:version]`, is what the broker makes its id of: without it the broker's
// handler fails, and the client is connected with nothing registered.
type Published struct {
	Service string `json:"service"`
	GSV     string `json:"gsv"`
}

// UnmarshalJSON also takes a bare string, as the broker does.
func (p *Published) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var name string
		err := json.Unmarshal(b, &name)
		*p = Published{Service: name, GSV: name}
		return err
	}
	type plain Published
	return json.Unmarshal(b, (*plain)(p))
}

// ParseRegistry reads the body of a registry entry, as a copy. Unknown fields are ignored.
func ParseRegistry(body []byte) (Registry, error) {
	var g Registry
	err := parseJSON(body, "service registry", &g)
	return g, err
}

// Append appends the body of a registry entry.
func (g Registry) Append(dst []byte) ([]byte, error) {
	for _, p := range g.Published {
		if p.GSV == "" {
			return dst, cannot("published service", ErrEmpty)
		}
	}
	return appendJSON(dst, "service registry", g)
}

func parseJSON(body []byte, part string, to any) error {
	if err := json.Unmarshal(body, to); err != nil {
		return &Error{Part: part, Err: fmt.Errorf("%w: %w", ErrInvalid, err)}
	}
	return nil
}

// appendJSON writes what Jackson would: no escapes for HTML, no line end.
func appendJSON(dst []byte, part string, v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return dst, cannot(part, err)
	}
	return append(dst, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...), nil
}
