package config

import (
	"io/fs"
	"os"
	"strings"
	"testing"
)

// The checks apply to the file that a symbolic link leads to, and to the folders of both.
func TestLinksAreFollowed(t *testing.T) {
	for _, test := range []struct {
		name                     string
		target, folder, linkedIn fs.FileMode
		want                     string // "": the file is accepted
	}{
		{"all closed", 0o600, 0o700, 0o755, ""},
		{"the target is open", 0o644, 0o700, 0o755, "so it is no secret"},
		{"the target may be replaced", 0o600, 0o777, 0o755, "may put another file in the place of"},
		{"the link may be replaced", 0o600, 0o700, 0o777, "may put another file in the place of"},
		{"everybody may add, and not replace", 0o600, 0o777 | fs.ModeSticky, 0o777 | fs.ModeSticky,
			""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			s.spoke("")
			if err := os.Mkdir(s.path("vault"), 0o700); err != nil {
				t.Fatal(err)
			}
			s.write("vault/key", "0123456789abcdef\n", test.target)
			if err := os.Symlink("vault/key", s.path("gre1.psk")); err != nil {
				t.Fatal(err)
			}
			for folder, mode := range map[string]fs.FileMode{
				s.path("vault"): test.folder, s.dir: test.linkedIn,
			} {
				if err := os.Chmod(folder, mode); err != nil {
					t.Fatal(err)
				}
			}
			if test.want != "" {
				wantProblem(t, s, "interface.gre1.ipsec.psk_file", test.want)
			} else if _, err := Load(s.path("cygnet.toml")); err != nil {
				t.Error(err)
			}
		})
	}
}

// Whoever may change the configuration decides who may join the network, whether it holds a
// password or not.
func TestConfigurationForEverybodyToWrite(t *testing.T) {
	s := newSite(t)
	s.write("gre1.psk", "0123456789abcdef\n", 0o600)
	s.spoke("")
	if err := os.Chmod(s.path("cygnet.toml"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(s.path("cygnet.toml")); err == nil ||
		!strings.Contains(err.Error(), "everybody on this host may change "+s.path("cygnet.toml")) {
		t.Errorf("got %v", err)
	}
}
