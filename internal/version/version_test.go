package version

import (
	"runtime/debug"
	"testing"
)

func TestOf(t *testing.T) {
	set := func(k, v string) debug.BuildSetting { return debug.BuildSetting{Key: k, Value: v} }
	for want, info := range map[string]debug.BuildInfo{
		"v1.2.3":                   {Main: debug.Module{Version: "v1.2.3"}},
		"devel-0123456789ab":       {Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{set("vcs.revision", "0123456789abcdef"), set("vcs.modified", "false")}},
		"devel-0123456789ab+dirty": {Settings: []debug.BuildSetting{set("vcs.modified", "true"), set("vcs.revision", "0123456789abcdef")}},
		"devel-unknown":            {},
	} {
		if got := of(&info); got != want {
			t.Errorf("%+v is %q, want %q", info, got, want)
		}
	}
}
