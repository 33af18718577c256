// Package perch_test keeps the rules of the house: who may import whom, and that each room says what it is for.
// docs/ARCHITECTURE.md tells the same in words.
package perch_test

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/perchcam/perch/"

// rule says what the packages below a folder may import of ours, and which foreign modules are theirs alone.
type rule struct {
	room   string
	may    []string
	reason string
}

// rules go from the bottom up; the longest room that fits is the one that counts.
var rules = []rule{
	{"internal/simlink", nil, "a network knows nothing of what crosses it"},
	{"internal/edits", nil, "it knows words and nothing else"},
	{"internal/version", nil, "it only reads what the go command stamped"},
	{"pkg/wire", nil, "codecs are bytes and structs, nothing else"},
	{"pkg/api", []string{"pkg/wire"}, "what agent and laptop both mean needs no connection"},
	{"pkg/session", nil, "a session carries frames of whatever is above"},
	{"pkg/peer", []string{"pkg/session"}, "a conversation sits on a session and knows no route"},
	{"pkg/camera", []string{"pkg/camera"}, "frames go up, demand comes down: a camera knows neither links nor requests"},
	{"pkg/gpio", []string{"pkg/gpio"}, "lines and sensors know neither links nor requests"},
	{"pkg/link", []string{"pkg/session"}, "the link keeps a session alive, whatever it carries"},
	{"pkg/broker", []string{"pkg/session", "pkg/peer", "pkg/wire", "pkg/api", "pkg/link"}, "the switch must work with any agent and any laptop"},
	{"pkg/client", []string{"pkg/session", "pkg/peer", "pkg/wire", "pkg/api", "pkg/link"}, "a laptop's program imports no hardware and no broker"},
	{"pkg/client/clienttest", []string{"pkg/client", "pkg/broker", "pkg/session", "pkg/peer", "pkg/wire", "pkg/api", "pkg/link", "internal/simlink"}, "a whole world to test clients in"},
	{"internal/agent", []string{"internal/edits", "internal/agent", "pkg/camera", "pkg/gpio", "pkg/link", "pkg/session", "pkg/peer", "pkg/wire", "pkg/api"}, "the agent joins hardware and link, and no broker"},
	{"internal/agent/service", []string{"pkg/camera", "pkg/gpio", "pkg/peer", "pkg/wire", "pkg/api"}, "services answer requests and know no link"},
	{"internal/page", []string{"pkg/client", "pkg/link", "pkg/session", "pkg/peer", "pkg/wire", "pkg/api"}, "the page asks as any laptop does"},
	{"cmd/agent", []string{"internal/version", "internal/agent", "pkg/gpio/host", "pkg/gpio"}, "mains are thin"},
	{"cmd/broker", []string{"internal/page", "internal/version", "pkg/broker", "packaging/firstboot"}, "mains are thin"},
	{"packaging/firstboot", nil, "what a card is given is text"},
	{"cmd/perch", []string{"internal/page", "internal/edits", "internal/version", "pkg/client", "pkg/api", "pkg/wire", "pkg/broker"}, "the CLI is built on what everybody can import"},
}

// homes says which rooms may import a foreign module.
var homes = map[string][]string{
	"github.com/rsocket/rsocket-go":        {"pkg/session", "pkg/peer", "pkg/broker"},
	"github.com/vladimirvivien/go4vl":      {"pkg/camera/v4l2"},
	"periph.io/x":                          {"pkg/gpio"},
	"github.com/warthog618/go-gpiocdev":    {"pkg/gpio/host"},
	"github.com/kelseyhightower/envconfig": {"internal/agent"},
	"github.com/coder/websocket":           {"pkg/link", "pkg/broker", "internal/page"},
}

type listed struct {
	ImportPath string
	Dir        string
	Imports    []string
	GoFiles    []string
	CgoFiles   []string
}

// packages are all of the module but its end-to-end rooms, which may look at everything.
func packages(t *testing.T) (all []listed) {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles,CgoFiles", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p listed
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 15 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

func below(path, room string) bool { return path == room || strings.HasPrefix(path, room+"/") }

// ruleOf returns the rule of the longest room that path is in.
func ruleOf(path string) (best rule, ok bool) {
	for _, r := range rules {
		if below(path, r.room) && len(r.room) > len(best.room) {
			best, ok = r, true
		}
	}
	return best, ok
}

// misdirected returns what is wrong with one import, "" when nothing is.
func misdirected(from, to string) string {
	ours, inside := strings.CutPrefix(to, module)
	if !inside {
		for mod, rooms := range homes {
			if below(to, mod) && !slices.ContainsFunc(rooms, func(r string) bool { return below(from, r) }) {
				return from + " imports " + to + ", which only " + strings.Join(rooms, ", ") + " may"
			}
		}
		return ""
	}
	r, ok := ruleOf(from)
	if !ok {
		return from + " is in no room that this test knows: give it a rule"
	}
	if below(ours, r.room) || slices.ContainsFunc(r.may, func(m string) bool { return below(ours, m) }) {
		return ""
	}
	return from + " imports " + ours + ", but " + r.reason
}

func TestImportsGoOneWay(t *testing.T) {
	for _, p := range packages(t) {
		from := strings.TrimPrefix(p.ImportPath, module)
		if below(from, "e2e") || below(from, "bench") || from == p.ImportPath {
			continue
		}
		for _, to := range p.Imports {
			if wrong := misdirected(from, to); wrong != "" {
				t.Error(wrong)
			}
		}
	}
}

// TestDirectionsCanFail shows that the rules catch what they are for.
func TestDirectionsCanFail(t *testing.T) {
	for _, c := range [][2]string{
		{"pkg/camera", "pkg/link"},
		{"pkg/link", "pkg/gpio"},
		{"pkg/wire", "pkg/api"},
		{"pkg/session", "pkg/peer"},
		{"internal/agent/service", "pkg/link"},
		{"pkg/client", "pkg/broker"},
		{"pkg/nowhere", "pkg/wire"},
	} {
		if misdirected(c[0], module+c[1]) == "" {
			t.Errorf("%s may import %s", c[0], c[1])
		}
	}
	if misdirected("pkg/client", "github.com/rsocket/rsocket-go/core") == "" {
		t.Error("pkg/client may import rsocket-go")
	}
}

// TestEachPackageOpensWithItsContract: a package's comment says what it is for.
func TestEachPackageOpensWithItsContract(t *testing.T) {
	for _, p := range packages(t) {
		longest := ""
		for _, name := range append(p.GoFiles, p.CgoFiles...) {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil && len(f.Doc.Text()) > len(longest) {
				longest = f.Doc.Text()
			}
		}
		if len(longest) < 60 && len(p.GoFiles)+len(p.CgoFiles) > 0 {
			t.Errorf("%s does not say what it is for (%q)", p.ImportPath, longest)
		}
	}
}
