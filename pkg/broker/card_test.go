package broker

import (
	"strconv"
	"strings"
	"testing"

	"github.com/perchcam/perch/pkg/session"
	"github.com/perchcam/perch/pkg/wire"
)

// A card is read before anybody has shown credentials: what a device may be asked for by is bounded.
func TestCardsAreBounded(t *testing.T) {
	var names []string
	for i := range 10_000 {
		names = append(names, strconv.Quote(strconv.FormatInt(int64(i), 36)))
	}
	app, err := wire.App{UUID: strings.Repeat("u", 32), Metadata: map[string]string{wire.KeyDevice: "cam"}}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	md, err := wire.AppendEntry(nil, wire.MIMEApp, app)
	if err == nil {
		md, err = wire.AppendEntry(md, wire.MIMERegistry, []byte(`{"published":[`+strings.Join(names, ",")+`]}`))
	}
	if err != nil || len(md) > 64<<10 {
		t.Fatal(len(md), err)
	}
	_, _, err = readCard(&session.Setup{MetadataMIME: wire.MIMEComposite, Metadata: md})
	if err == nil || !strings.Contains(err.Error(), "10001 tags and services") {
		t.Errorf("%v", err)
	}
}
