package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rpmRoot is a root folder with a shell and nothing else of a system: rpm changes its root to it
// for the scripts of a package. The commands that the scripts call are stand-ins there, which note
// their calls in the file log.
type rpmRoot struct{ path string }

// newRPMRoot makes the root. It skips the test where this user may not change a root.
func newRPMRoot(t *testing.T) *rpmRoot {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can have rpm run the scripts of a package in another root (chroot)")
	}
	r := &rpmRoot{t.TempDir()}
	r.add(t, "/bin/sh", 0o755, read(t, "/bin/sh"))
	libraries := output(t, "ldd", "/bin/sh")
	for _, library := range regexp.MustCompile(`/\S+`).FindAllString(libraries, -1) {
		r.add(t, library, 0o755, read(t, library))
	}
	r.add(t, "/dev/null", 0o666, "") // a file like any other will do
	for _, name := range []string{"systemctl", "timeout"} {
		// systemctl says that the daemon does not run.
		r.add(t, "/usr/bin/"+name, 0o755, "#!/bin/sh\necho \"${0##*/} $*\" >>/log\n"+
			"[ \"$1\" != is-active ]\n")
	}
	return r
}

func (r *rpmRoot) add(t *testing.T, name string, mode os.FileMode, text string) {
	t.Helper()
	path := filepath.Join(r.path, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// rpm runs rpm on the root, which must succeed. It returns what rpm printed, and what the package's
// scripts called meanwhile.
func (r *rpmRoot) rpm(t *testing.T, args ...string) (says string, calls []string) {
	t.Helper()
	r.add(t, "/log", 0o644, "")
	cmd := exec.Command("rpm", append([]string{"--root", r.path}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("rpm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	log := read(t, filepath.Join(r.path, "log"))
	return string(out), strings.Split(strings.TrimSpace(log), "\n")
}

// called fails the test if the scripts' calls do not begin as wanted: TestScripts holds the rest of
// each.
func (r *rpmRoot) called(t *testing.T, when string, calls []string, want ...string) {
	t.Helper()
	if !slices.EqualFunc(calls, want, strings.HasPrefix) {
		t.Errorf("%s: the scripts call\n%s\nwant\n%s", when, strings.Join(calls, "\n"),
			strings.Join(want, "\n"))
	}
}

func (r *rpmRoot) has(name string) bool {
	_, err := os.Lstat(filepath.Join(r.path, name))
	return err == nil
}

// rpm itself installs, verifies, upgrades and removes the package and runs its scripts. An edited
// configuration survives an upgrade in its place, and a removal as cygnet.toml.rpmsave. A key that
// is not the package's stays.
func TestRPMLife(t *testing.T) {
	const edited = "# mine\n"
	r := newRPMRoot(t)
	old, next := testBuild(t), testBuild(t)
	next.version = "1.3.0"
	_, oldRPM := old.make(t)
	_, nextRPM := next.make(t)
	reload := "systemctl daemon-reload"

	says, calls := r.rpm(t, "--install", "--nodeps", oldRPM)
	r.called(t, "the installation", calls, reload)
	if !strings.Contains(says, "nothing is started or enabled") {
		t.Errorf("the installation says %q", says)
	}
	r.rpm(t, "--verify", "--nodeps", "cygnet")
	for name, mode := range map[string]os.FileMode{
		"/usr/sbin/cygnetd": 0o755, "/etc/cygnet/cygnet.toml": 0o640,
		"/usr/lib/systemd/system/cygnetd.service": 0o644,
	} {
		if st, err := os.Stat(filepath.Join(r.path, name)); err != nil || st.Mode() != mode {
			t.Errorf("%s: want mode %v, have %v, %v", name, mode, st, err)
		}
	}
	r.add(t, "/etc/cygnet/cygnet.toml", 0o640, edited)
	r.add(t, "/etc/cygnet/gre1.psk", 0o600, "secret\n")

	_, calls = r.rpm(t, "--upgrade", "--nodeps", nextRPM)
	r.called(t, "the upgrade", calls, reload, reload, "systemctl try-restart cygnetd.service")
	if got := read(t, filepath.Join(r.path, "etc/cygnet/cygnet.toml")); got != edited {
		t.Errorf("after the upgrade the configuration is %q", got)
	}
	if v, _ := r.rpm(t, "--query", "--queryformat", "%{VERSION}\n", "cygnet"); v != "1.3.0\n" {
		t.Errorf("after the upgrade the versions are %q", v)
	}

	_, calls = r.rpm(t, "--erase", "cygnet")
	r.called(t, "the removal", calls, "systemctl is-active --quiet cygnetd.service",
		"systemctl --no-reload disable --now cygnetd.service", "timeout 60 cygnetd -leave", reload)
	if got := read(t, filepath.Join(r.path, "etc/cygnet/cygnet.toml.rpmsave")); got != edited {
		t.Errorf("after the removal the configuration is %q", got)
	}
	if r.has("/usr/sbin/cygnetd") || r.has("/usr/lib/systemd/system/cygnetd.service") ||
		r.has("/usr/share/doc/cygnet") || !r.has("/etc/cygnet/gre1.psk") {
		t.Errorf("after the removal there are: %q", listing(t, r.path, "/var"))
	}
}
