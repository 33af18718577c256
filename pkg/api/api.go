// Package api is what a device, a broker and a laptop mean by the bytes they exchange: the routes, the options of a request,
// and the shape of every answer.
//
// Options and answers are JSON, version 1. The data of a request is an object of options, and every option has a default, so
// that empty data, `{}` and `[]` (no arguments, as Alibaba's clients write it) ask for all defaults. Both sides ignore fields
// they do not know, and a field never changes its meaning: that is how neighbouring versions work together, and testdata keeps
// version 1 to prove it. A known field with a wrong value is refused with a sentence that names it.
//
// A picture travels as it is. Its FrameHeader is an entry of the payload's metadata, so that nothing is wrapped around an image.
//
//	route             model             request         answer
//	camera.snapshot   request-response  SnapshotRequest image + FrameHeader
//	camera.stream     request-stream    StreamRequest   images, each + FrameHeader
//	camera.control    request-channel   ControlRequest… ControlReply…
//	camera.list       request-response  -               CameraList
//	camera.album      request-response  AlbumRequest    Album; of one picture: image + FrameHeader
//	agent.info        request-response  -               Info
//	agent.clock       request-response  -               ClockReply
//	agent.health      request-response  -               Health
//	agent.metrics     request-response  -               text/plain
//	agent.logs        request-stream    LogsRequest     LogLine…
//	sensors.read      request-response  SensorsRequest  Readings
//	sensors.watch     request-stream    SensorsRequest  Reading…
//	gpio.list         request-response  -               Outputs
//	gpio.set          request-response  SetRequest      OutputState
//	broker.devices    request-response  DevicesRequest  Devices
//	broker.watch      request-stream    DevicesRequest  DeviceEvent…
//	broker.info       request-response  -               BrokerInfo
//	broker.enrol      request-response  EnrolRequest    Enrolled
package api

import "github.com/perchcam/perch/pkg/wire"

// Service is the name under which every device registers.
const Service = "perch"

// Routes that a device answers.
const (
	RouteSnapshot = "camera.snapshot"
	RouteStream   = "camera.stream"
	RouteControl  = "camera.control"
	RouteCameras  = "camera.list"
	RouteAlbum    = "camera.album"
	RouteInfo     = "agent.info"
	RouteClock    = "agent.clock"
	RouteHealth   = "agent.health"
	RouteMetrics  = "agent.metrics"
	RouteLogs     = "agent.logs"
	RouteRead     = "sensors.read"
	RouteWatch    = "sensors.watch"
	RouteOutputs  = "gpio.list"
	RouteSet      = "gpio.set"
)

// Routes that Perch's broker answers itself.
const (
	RouteDevices      = "broker.devices"
	RouteDevicesWatch = "broker.watch"
	RouteBrokerInfo   = "broker.info"
	RouteEnrol        = "broker.enrol" // with an enrolment token: for a token of the device's own
)

// NotPermitted begins the text of the error REJECTED with which the broker refuses a route to a role: the protocol has no code
// that tells it from other rejections, and unlike them asking again is in vain.
const NotPermitted = "not permitted: "

// MIME types of data and of metadata entries.
const (
	MIMEAdvert = wire.MIMEAdvert
	MIMEFrame  = wire.MIMEFrame
	MIMEJSON   = wire.MIMEJSON
	MIMEJPEG   = wire.MIMEJPEG
	MIMEH264   = wire.MIMEH264
	MIMEText   = wire.MIMEText
)

// Limits, in bytes. A sender keeps them and a receiver refuses more.
const (
	MaxRequest = 64 << 10 // data of a request
	MaxAdvert  = 16 << 10
	MaxHeader  = 8 << 10
	MaxReading = 64 << 10
	MaxAnswer  = 1 << 20 // any other
)

// Formats of a picture.
const (
	FormatJPEG = "jpeg"
	FormatH264 = "h264" // Annex B
)

// FormatMIME is the MIME type of a format, MIMEOctetStream for one it does not know.
func FormatMIME(format string) string {
	switch format {
	case FormatJPEG:
		return MIMEJPEG
	case FormatH264:
		return MIMEH264
	}
	return wire.MIMEOctetStream
}
