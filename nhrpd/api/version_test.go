package api

import (
	"runtime/debug"
	"testing"
)

// A build is named by its module version, or else by its commit. The name shows whether files were
// changed since the commit.
func TestBuildVersion(t *testing.T) {
	settings := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123456789abcdef0123"},
			{Key: "vcs.modified", Value: modified},
		}
	}
	for _, test := range []struct {
		name string
		info *debug.BuildInfo
		ok   bool
		want string
	}{
		{"no record", nil, false, "unknown"},
		{"a module", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, true, "v1.2.3"},
		{"a checkout", &debug.BuildInfo{
			Main: debug.Module{Version: "(devel)"}, Settings: settings("false"),
		}, true, "devel-0123456789ab"},
		{"a changed one", &debug.BuildInfo{Settings: settings("true")}, true, "devel-0123456789ab-dirty"},
		{"no repository", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, true, "devel"},
	} {
		if got := buildVersion(test.info, test.ok); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	if Version == "" {
		t.Error("this build has no version")
	}
}
