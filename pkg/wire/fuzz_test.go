package wire

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seed adds every vector whole, and the bodies of its entries.
func seed(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v)
		for e, err := range Entries(v) {
			if err == nil {
				f.Add(e.Body)
			}
		}
	}
	for _, md := range hotRequests(f) {
		f.Add(md)
	}
	f.Add([]byte(nil))
}

// check holds every error to the promise of Error.
func check(t *testing.T, b []byte, err error) {
	t.Helper()
	if err == nil {
		return
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Offset < 0 || e.Offset > len(b) || e.Part == "" || e.Err == nil {
		t.Errorf("%d bytes: %#v", len(b), err)
	}
}

func FuzzParseRequest(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, md []byte) {
		for _, parse := range []func([]byte) (Target, error){ParseRequest, ParseRouting} {
			target, err := parse(md)
			check(t, md, err)
			for key, value := range target.Conditions() {
				if string(key) == KeyDevice && !bytes.Equal(value, target.Device) {
					t.Errorf("the device is %q and a condition says %q", target.Device, value)
				}
			}
			target.Param(ParamWait)
			for _, body := range [][]byte{target.Data, target.Accept} {
				for _, err := range MIMEs(body) {
					check(t, body, err)
				}
				_, err := ParseMIMEType(body)
				check(t, body, err)
			}
		}
	})
}

// FuzzParseSetup also writes again what it read, and reads that.
func FuzzParseSetup(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, md []byte) {
		s, err := ParseSetup(md)
		check(t, md, err)
		if err != nil {
			return
		}
		again, err := s.Append(nil)
		if err != nil {
			return // a peer may say what is not to be repeated, such as a tag without a value
		}
		got, err := ParseSetup(again)
		if err != nil {
			t.Fatalf("%+v cannot be read again: %v", s, err)
		}
		if diff := cmp.Diff(s, got); diff != "" {
			t.Errorf("read again (-want +got):\n%s", diff)
		}
	})
}

// FuzzEntries writes again what it read: the bytes are the same, where a type that has an id was not spelled out.
func FuzzEntries(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, md []byte) {
		var again []byte
		for e, err := range Entries(md) {
			if err != nil {
				check(t, md, err)
				return
			}
			if len(e.Type.Name) == 0 {
				again, err = AppendEntryID(again, e.Type.ID, e.Body)
			} else if _, known := IDOf(string(e.Type.Name)); known {
				return
			} else {
				again, err = AppendEntry(again, string(e.Type.Name), e.Body)
			}
			if err != nil {
				return // a name that is not ASCII
			}
		}
		if !bytes.Equal(again, md) {
			t.Errorf("read\n%x, written\n%x", md, again)
		}
	})
}

// FuzzBrokerFrame writes again what it read: the same, but for the version, unused flags and a key spelled out.
func FuzzBrokerFrame(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		s, err := ParseRouteSetup(b)
		if check(t, b, err); err == nil {
			again, err = s.Append(nil)
		}
		a, addressErr := ParseAddress(b)
		if check(t, b, addressErr); addressErr == nil {
			again, err = a.Append(nil)
		}
		j, joinErr := ParseRouteJoin(b)
		if check(t, b, joinErr); joinErr == nil {
			again, err = j.Append(nil)
		}
		m, removeErr := ParseRouteRemove(b)
		if check(t, b, removeErr); removeErr == nil {
			again, err = m.Append(nil), nil
		}
		i, infoErr := ParseBrokerInfo(b)
		if check(t, b, infoErr); infoErr == nil {
			again, err = i.Append(nil), nil
		}
		if again != nil && (err != nil || !bytes.Equal(again[6:], b[6:])) {
			t.Errorf("read\n%x, written\n%x, %v", b, again, err)
		}
	})
}

func FuzzBodies(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		auth, err := ParseAuth(b)
		check(t, b, err)
		if err == nil {
			again, err := auth.Append(nil)
			if err == nil && b[0]&0x80 != 0 && !bytes.Equal(again, b) {
				t.Errorf("%v read\n%x, written\n%x", auth, b, again)
			}
		}
		for _, err := range RoutingTags(b) {
			check(t, b, err)
		}
		_, err = ParseBinaryRouting(b)
		check(t, b, err)
		_, err = ParseApp(b)
		check(t, b, err)
		_, err = ParseRegistry(b)
		check(t, b, err)
		Tags(b).Copy() // not checked before: it has to end all the same
	})
}
