package camera

import "context"

// ControlType says what values a control takes.
type ControlType string

// The types of controls.
const (
	ControlInt     ControlType = "int"
	ControlBool    ControlType = "bool"
	ControlMenu    ControlType = "menu"
	ControlButton  ControlType = "button" // setting it does something; it has no value
	ControlBitmask ControlType = "bitmask"
)

// Control is one thing that can be set on a camera.
type Control struct {
	Name           string // brightness, exposure_time_absolute: as v4l2-ctl writes it
	Type           ControlType
	Min, Max, Step int64
	Default, Value int64
	Menu           []MenuItem // of a menu: the values that it takes
	ReadOnly       bool
	Inactive       bool // has no effect now, as exposure while it is automatic
}

// MenuItem is one value of a menu.
type MenuItem struct {
	Value int64
	Name  string
}

// Controller is a Source whose camera has controls. They may be listed and set
// whether or not the camera runs.
type Controller interface {
	Controls(ctx context.Context) ([]Control, error)
	// SetControl sets the control of that name and gives the value that the
	// camera made of it.
	SetControl(ctx context.Context, name string, value int64) (int64, error)
}
