package api

// States of a camera.
const (
	CameraIdle    = "idle"    // there, and off because nobody watches
	CameraActive  = "active"  // delivers
	CameraBusy    = "busy"    // in use by another program
	CameraMissing = "missing" // not there
	CameraFailed  = "failed"  // there, and not working
)

// CameraList is the answer of RouteCameras.
type CameraList struct {
	Cameras List[Camera] `json:"cameras"`
}

// Camera is what a camera can do and does.
type Camera struct {
	Name     string    `json:"name"`
	Kind     string    `json:"kind"`
	Model    string    `json:"model,omitempty"` // as the driver names it
	State    string    `json:"state"`
	Error    string    `json:"error,omitempty"` // why it is busy, missing or failed
	Viewers  int       `json:"viewers"`
	Mode     *Mode     `json:"mode,omitempty"`     // what it delivers now
	Modes    []Mode    `json:"modes,omitempty"`    // what it can deliver
	Controls []Control `json:"controls,omitempty"` // what RouteControl can set
}

// Mode is a size in a pixel format, with frame rates.
type Mode struct {
	Format string    `json:"format"` // as the camera delivers it: the driver's fourcc, such as MJPG
	Width  int       `json:"width"`  // pixels
	Height int       `json:"height"`
	FPS    []float64 `json:"fps,omitempty"`
}

// Control is a setting of a camera.
type Control struct {
	Name    string         `json:"name"`
	Type    string         `json:"type"` // int, bool, menu, button
	Value   int64          `json:"value"`
	Default int64          `json:"default"`
	Min     int64          `json:"min"`
	Max     int64          `json:"max"`
	Step    int64          `json:"step,omitempty"`
	Menu    map[int]string `json:"menu,omitempty"`
	Off     bool           `json:"off,omitempty"` // cannot be set now
}

// ControlReply is one item that RouteControl answers: what is in force after a change, read back from the driver.
type ControlReply struct {
	Camera string            `json:"camera"`
	Values map[string]int64  `json:"values,omitempty"`
	Errors map[string]string `json:"errors,omitempty"` // by control, a sentence each
}
