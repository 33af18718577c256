package wire

// ID is the one byte that stands for a well-known MIME type.
type ID uint8

// The ids used here (RSocket WellKnownMimeTypes). The last four are known to Alibaba's broker only.
const (
	IDJSON          ID = 0x05
	IDOctetStream   ID = 0x06
	IDJPEG          ID = 0x1A
	IDText          ID = 0x21
	IDH264          ID = 0x23
	IDMIMEType      ID = 0x7A
	IDAccept        ID = 0x7B
	IDAuth          ID = 0x7C
	IDZipkin        ID = 0x7D
	IDRouting       ID = 0x7E
	IDComposite     ID = 0x7F
	IDBinaryRouting ID = 0x50
	IDApp           ID = 0x51
	IDCacheControl  ID = 0x53
	IDRegistry      ID = 0x54
)

// The same types by name, and those that have no id.
const (
	MIMEJSON          = "application/json"
	MIMEOctetStream   = "application/octet-stream"
	MIMEJPEG          = "image/jpeg"
	MIMEText          = "text/plain"
	MIMEH264          = "video/H264"
	MIMEType          = "message/x.rsocket.mime-type.v0"
	MIMEAccept        = "message/x.rsocket.accept-mime-types.v0"
	MIMEAuth          = "message/x.rsocket.authentication.v0"
	MIMERouting       = "message/x.rsocket.routing.v0"
	MIMEComposite     = "message/x.rsocket.composite-metadata.v0"
	MIMEBinaryRouting = "message/x.rsocket.binary-routing.v0"
	MIMEApp           = "message/x.rsocket.application+json"
	MIMERegistry      = "message/x.rsocket.service.registry.v0+json"
	MIMEBrokerFrame   = "message/x.rsocket.broker.frame.v0"
	MIMEAdvert        = "application/vnd.perch.advert.v1+json" // what a device offers, as JSON
	MIMEFrame         = "application/vnd.perch.frame.v1+json"  // what a picture's bytes are, as JSON
)

// mimeNames holds what each id stands for; "" is unassigned. Only the public list is written as ids: see IDOf.
var mimeNames = [128]string{
	0x00: "application/avro",
	0x01: "application/cbor",
	0x02: "application/graphql",
	0x03: "application/gzip",
	0x04: "application/javascript",
	0x05: MIMEJSON,
	0x06: MIMEOctetStream,
	0x07: "application/pdf",
	0x08: "application/vnd.apache.thrift.binary",
	0x09: "application/vnd.google.protobuf",
	0x0A: "application/xml",
	0x0B: "application/zip",
	0x0C: "audio/aac",
	0x0D: "audio/mp3",
	0x0E: "audio/mp4",
	0x0F: "audio/mpeg3",
	0x10: "audio/mpeg",
	0x11: "audio/ogg",
	0x12: "audio/opus",
	0x13: "audio/vorbis",
	0x14: "image/bmp",
	0x15: "image/gif",
	0x16: "image/heic-sequence",
	0x17: "image/heic",
	0x18: "image/heif-sequence",
	0x19: "image/heif",
	0x1A: MIMEJPEG,
	0x1B: "image/png",
	0x1C: "image/tiff",
	0x1D: "multipart/mixed",
	0x1E: "text/css",
	0x1F: "text/csv",
	0x20: "text/html",
	0x21: MIMEText,
	0x22: "text/xml",
	0x23: MIMEH264,
	0x24: "video/H265",
	0x25: "video/VP8",
	0x26: "application/x-hessian",
	0x27: "application/x-java-object",
	0x28: "application/cloudevents+json",
	0x29: "application/x-capnp",
	0x2A: "application/x-flatbuffers",

	IDBinaryRouting: MIMEBinaryRouting,
	IDApp:           MIMEApp,
	IDCacheControl:  "message/x.rsocket.rsocket.data.cache-control",
	IDRegistry:      MIMERegistry,

	IDMIMEType:  MIMEType,
	IDAccept:    MIMEAccept,
	IDAuth:      MIMEAuth,
	IDZipkin:    "message/x.rsocket.tracing-zipkin.v0",
	IDRouting:   MIMERouting,
	IDComposite: MIMEComposite,
}

// String returns the type's name, "" when the id is not assigned.
func (id ID) String() string { return mimeNames[id&0x7F] }

// IDOf returns the public id of a type. Alibaba's private ids are read but never written: its broker looks types up by name
// and takes both forms, and others may give these ids another meaning.
func IDOf(name string) (ID, bool) {
	for id, known := range mimeNames {
		if known == name && name != "" && (id < 0x50 || id >= int(IDMIMEType)) {
			return ID(id), true
		}
	}
	return 0, false
}

// MIME is a type as it was read: by id, or by name where Name is not empty.
type MIME struct {
	ID   ID
	Name []byte
}

// Is reports whether m is the named type, in either form. It does not allocate.
func (m MIME) Is(name string) bool {
	if len(m.Name) > 0 {
		return string(m.Name) == name
	}
	return m.ID.String() == name
}

// String returns the name, "" when the id is not assigned.
func (m MIME) String() string {
	if len(m.Name) > 0 {
		return string(m.Name)
	}
	return m.ID.String()
}

func (r *reader) mime() MIME {
	first := r.u8("MIME type")
	if first&0x80 != 0 {
		return MIME{ID: ID(first & 0x7F)}
	}
	return MIME{Name: r.take(int(first)+1, "MIME type")}
}

// appendMIME appends a type by its id where it has one, else by name.
func appendMIME(dst []byte, name string) ([]byte, error) {
	if id, ok := IDOf(name); ok {
		return append(dst, 0x80|byte(id)), nil
	}
	return appendName(dst, "MIME type", name)
}

// appendName appends a type spelled out, which is 1 to 128 bytes of ASCII. The byte before it is its length − 1: the
// extensions' text says length, but rsocket-java (CompositeMetadataCodec, MimeTypeMetadataCodec, AuthMetadataCodec),
// rsocket-js and rsocket-go agree on this, and 0 to 127 is what seven bits hold.
func appendName(dst []byte, part, name string) ([]byte, error) {
	switch {
	case name == "":
		return dst, cannot(part, ErrEmpty)
	case len(name) > 128:
		return dst, cannot(part, ErrTooLong)
	}
	for i := range len(name) {
		if name[i] >= 0x80 {
			return dst, cannot(part, ErrInvalid)
		}
	}
	return append(append(dst, byte(len(name)-1)), name...), nil
}
