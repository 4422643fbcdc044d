package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// foreignRoot is an empty root folder with a dpkg database of its own.
type foreignRoot struct{ path string }

func newForeignRoot(t *testing.T) *foreignRoot {
	t.Helper()
	r := &foreignRoot{t.TempDir()}
	for _, folder := range []string{"info", "updates", "triggers", "parts"} {
		if err := os.MkdirAll(filepath.Join(r.path, "var/lib/dpkg", folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"status", "available"} {
		r.write(t, "/var/lib/dpkg/"+name, "")
	}
	return r
}

// dpkg runs dpkg on the root. The maintainer scripts run outside of it, and learn that from
// DPKG_ROOT.
func (r *foreignRoot) dpkg(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("dpkg",
		append([]string{"--root=" + r.path, "--log=/dev/null", "--force-script-chrootless",
			"--force-architecture"}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("dpkg %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (r *foreignRoot) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.path, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *foreignRoot) has(name string) bool {
	_, err := os.Lstat(filepath.Join(r.path, name))
	return err == nil
}

// The administrator's configuration survives an upgrade and a removal of the package, keys survive
// even a purge, and the package never enables the daemon.
func TestDebLife(t *testing.T) {
	const edited = "# mine\n"
	r := newForeignRoot(t)
	old := testBuild(t)
	deb, _ := old.make(t)

	r.dpkg(t, "-i", deb)
	if state := r.dpkg(
		t, "-s", "cygnet",
	); !strings.Contains(state, "Status: install ok installed") {
		t.Fatalf("after the installation:\n%s", state)
	}
	if r.has("/etc/systemd/system") {
		t.Error("the installation enables something")
	}
	r.write(t, "/etc/cygnet/cygnet.toml", edited)
	r.write(t, "/etc/cygnet/gre1.psk", "secret\n")

	next := testBuild(t)
	next.version = "1.3.0"
	deb, _ = next.make(t)
	r.dpkg(t, "-i", deb)
	if got := read(t, filepath.Join(r.path, "etc/cygnet/cygnet.toml")); got != edited {
		t.Errorf("after the upgrade the configuration is %q", got)
	}

	link := filepath.Join(r.path, "etc/systemd/system/multi-user.target.wants/cygnetd.service")
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/lib/systemd/system/cygnetd.service", link); err != nil {
		t.Fatal(err)
	}
	r.dpkg(t, "-r", "cygnet")
	if r.has("/etc/systemd/system/multi-user.target.wants/cygnetd.service") {
		t.Error("want no link to a unit that is gone after the removal")
	}
	if r.has("/usr/sbin/cygnetd") || !r.has("/etc/cygnet/cygnet.toml") || !r.has("/etc/cygnet/gre1.psk") {
		t.Errorf("after the removal: %q", listing(t, r.path, "/var"))
	}
	r.dpkg(t, "-P", "cygnet")
	if r.has("/etc/cygnet/cygnet.toml") || !r.has("/etc/cygnet/gre1.psk") {
		t.Errorf("after the purge: %q", listing(t, r.path, "/var"))
	}
}
