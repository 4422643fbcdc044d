package swanctl_test

import (
	"os"
	"path/filepath"
	"testing"

	"cygnet/vici/swanctl"
)

// Setting reads strongswan.conf as charon does: a later value replaces an earlier one, an included
// file counts in the place of the include, and an inherited value counts where there is none
// nearer.
func TestSetting(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"strongswan.conf": "charon {\n  threads = 8\n  threads = 16 # later\n  plugins {\n    include charon/*.conf\n  }\n}\ncharon-systemd : charon {\n  cookie_threshold =\n}\ninclude d/*.conf\n",
		"charon/vici":     "not read",
		"charon/b.conf":   "vici {\n  socket = unix:///run/b.vici\n}\n",
		"d/a.conf":        "charon {\n  threads = 32\n  cookie_threshold = 500\n}\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := swanctl.Load(filepath.Join(dir, "strongswan.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path     []string
		want, at string // "": there is no value
	}{
		{[]string{"charon", "threads"}, "32", "d/a.conf:2"},
		{[]string{"charon-systemd", "threads"}, "32", "d/a.conf:2"},
		{[]string{"charon-systemd", "cookie_threshold"}, "", ""},
		{[]string{"charon", "plugins", "vici", "socket"}, "unix:///run/b.vici", "charon/b.conf:2"},
		{[]string{"charon", "plugins", "stroke", "socket"}, "", ""},
		{[]string{"charon", "Threads"}, "", ""},
		{[]string{"threads"}, "", ""},
	} {
		value, at, ok := f.Setting(test.path...)
		if value != test.want || ok != (test.at != "") ||
			ok && at.String() != filepath.Join(dir, test.at) {
			t.Errorf("%v is %q at %v, want %q at %q", test.path, value, at, test.want, test.at)
		}
	}
}
