package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cygnet/nhrpd/config/hostfile"
)

// site is a folder with a configuration and a pre-shared key.
type site struct {
	t   *testing.T
	dir string
}

func newSite(t *testing.T) site { return site{t, t.TempDir()} }

func (s site) path(name string) string { return filepath.Join(s.dir, name) }

func (s site) write(name, text string, mode fs.FileMode) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Chmod(s.path(name), mode); err != nil {
		s.t.Fatal(err)
	}
}

// spoke writes a spoke's configuration that takes its pre-shared key from the folder.
func (s site) spoke(change string) {
	s.t.Helper()
	text := strings.ReplaceAll(spokeWith(change), "/etc/cygnet/", s.dir+"/")
	s.write("cygnet.toml", text, 0o644)
}

// The pre-shared key is the content of its file without the end of the line.
func TestLoadReadsThePSK(t *testing.T) {
	const key = "0123456789abcdef # \"quoted\""
	for _, end := range []string{"", "\n", "\r\n"} {
		s := newSite(t)
		s.spoke("")
		s.write("gre1.psk", key+end, 0o640)
		cfg, err := Load(s.path("cygnet.toml"))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(cfg.Interfaces[0].IPsec.PSK); got != key {
			t.Errorf("with the end %q: got %q", end, got)
		}
		if len(cfg.Warnings) > 0 {
			t.Errorf("warnings: %q", cfg.Warnings)
		}
	}
}

// Load refuses a file that is not usable as a secret. The message has its place in the
// configuration and says what to do.
func TestLoadRefusesBadSecrets(t *testing.T) {
	for _, test := range []struct {
		rule, text string
		mode       fs.FileMode
		want       string
	}{
		{"readable by everybody", "0123456789abcdef\n", 0o644, "(mode 0644), so it is no secret"},
		{"writable by everybody", "0123456789abcdef\n", 0o602, "(mode 0602), so it is no secret"},
		{"writable by its group", "0123456789abcdef\n", 0o660, "the group of the file may change"},
		{"empty", "", 0o600, "holds no secret"},
		{"an empty line", "\n", 0o600, "holds no secret"},
		{"several lines", "0123456789abcdef\nabc\n", 0o600, "has several lines"},
		{"too large", strings.Repeat("x", hostfile.MaxSize+1), 0o600, "is larger than"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			s := newSite(t)
			s.spoke("")
			s.write("gre1.psk", test.text, test.mode)
			wantProblem(t, s, "interface.gre1.ipsec.psk_file", test.want)
		})
	}
}

// The message about a missing file has the command that creates it. Load refuses a pipe and a
// folder without waiting for a writer.
func TestLoadRefusesWhatIsNoFile(t *testing.T) {
	missing := newSite(t)
	missing.spoke("")
	wantProblem(t, missing, "interface.gre1.ipsec.psk_file", "does not exist; create it readable by root alone")

	folder := newSite(t)
	folder.spoke("")
	if err := os.Mkdir(folder.path("gre1.psk"), 0o700); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, folder, "interface.gre1.ipsec.psk_file", "is not a regular file")

	pipe := newSite(t)
	pipe.spoke("")
	if err := syscall.Mkfifo(pipe.path("gre1.psk"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, pipe, "interface.gre1.ipsec.psk_file", "is not a regular file")
}

func wantProblem(t *testing.T, s site, key, text string) {
	t.Helper()
	_, err := Load(s.path("cygnet.toml"))
	if err == nil {
		t.Fatal("accepted")
	}
	found := problemsOf(t, err)
	if len(found) != 1 || found[0].Key != key || found[0].Line == 0 ||
		!strings.Contains(found[0].Text, text) {
		t.Errorf("got %v, want %s: …%s…", err, key, text)
	}
	if strings.Contains(err.Error(), "0123456789") {
		t.Errorf("the secret is in the message: %v", err)
	}
}

// Load accepts a short pre-shared key with a warning that does not show it.
func TestLoadWarnsOfShortPSK(t *testing.T) {
	s := newSite(t)
	s.spoke("")
	s.write("gre1.psk", "sesame\n", 0o600)
	wantWarning(t, s, "has 6 characters", "sesame")
}

// The NHRP password comes from a file of its own or from the configuration. A configuration with a
// password must not be readable by everybody.
func TestLoadAuthentication(t *testing.T) {
	s := newSite(t)
	s.write("gre1.psk", "0123456789abcdef\n", 0o600)
	s.write("gre1.nhrp", "swordfish\n", 0o600)
	s.spoke(`authentication_file = "/etc/cygnet/gre1.nhrp"`)
	wantWarning(t, s, "Cisco", "swordfish")
	cfg, err := Load(s.path("cygnet.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(cfg.Interfaces[0].Authentication); got != "swordfish" {
		t.Errorf("got %q", got)
	}

	s.spoke(`authentication = "sesame"`)
	wantProblem(t, s, "interface.gre1.authentication", "(mode 0644); change the password, then use authentication_file, or chmod 640 "+s.path("cygnet.toml"))
	if err := os.Chmod(s.path("cygnet.toml"), 0o660); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, s, "interface.gre1.authentication", "the group of the file may change")
	if err := os.Chmod(s.path("cygnet.toml"), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(s.path("cygnet.toml")); err != nil {
		t.Error(err)
	}
}

func wantWarning(t *testing.T, s site, text, secret string) {
	t.Helper()
	cfg, err := Load(s.path("cygnet.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Warnings) != 1 || !strings.Contains(cfg.Warnings[0], text) ||
		strings.Contains(cfg.Warnings[0], secret) {
		t.Errorf("warnings: %q, want one with %q and without the secret", cfg.Warnings, text)
	}
}

// The error about a missing configuration wraps the system's error.
func TestLoadMissingConfiguration(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "cygnet.toml"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// Two interfaces that share their SAs may name two files for one secret, but not two secrets.
func TestLoadComparesSecretsOfSharedSAs(t *testing.T) {
	s := newSite(t)
	s.write("one.psk", "a secret that is long enough\n", 0o600)
	s.write("two.psk", "a secret that is long enough\n", 0o600)
	further := "[interface.gre2]\naddress = \"10.254.0.11/24\"\nunderlay = \"eth0\"\nkey = 43\n" +
		"[interface.gre2.ipsec]\nidentity = \"spoke1.example.net\"\npsk_file = \"" +
		s.path("two.psk") + "\""
	s.spoke("[interface.gre1.ipsec]\npsk_file = \"" + s.path("one.psk") + "\"\n" + further)
	if _, err := Load(s.path("cygnet.toml")); err != nil {
		t.Errorf("one secret in two files: %v", err)
	}
	s.write("two.psk", "another secret of that length\n", 0o600)
	wantProblem(t, s, "interface.gre2.ipsec.psk_file",
		"the secret in "+s.path("two.psk")+" differs from that in "+s.path("one.psk")+
			" (interface.gre1.ipsec.psk_file), but gre1 and gre2 send from eth0")
}
