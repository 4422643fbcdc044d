package config

import (
	"io/fs"
	"os"
	"strings"
	"testing"
)

// Only root and the daemon's user may change a file with a secret.
func TestWritable(t *testing.T) {
	const daemon = 900
	for _, test := range []struct {
		name string
		file file
		want string // "": nobody
	}{
		{"root's own", file{mode: 0o600}, ""},
		{"for a group to read", file{mode: 0o640}, ""},
		{"the daemon's", file{mode: 0o600, owner: daemon}, ""},
		{"for its group to write", file{mode: 0o660}, "the group of the file may change F (mode 0660); chmod go-w F"},
		{"for everybody to write", file{mode: 0o602}, "everybody on this host may change F (mode 0602); chmod go-w F"},
		{"somebody's", file{mode: 0o600, owner: 1000}, "F belongs to user 1000, who may change it; chown root F"},
		{"in a folder for everybody", file{mode: 0o600, loose: []string{"/d"}}, "everybody on this host may put another file in the place of F; chmod o-w /d"},
		{"on a system without owners", file{mode: 0o600, owner: -1}, ""},
	} {
		if got := test.file.writable("F", daemon); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

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
