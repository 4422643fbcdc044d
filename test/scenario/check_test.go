//go:build lab

package scenario

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"cygnet/test/lab"
)

// cygnet check reports what the host lacks. The test runs it with charon as Debian configures it,
// with the settings that we recommend, without charon, without certificates, and as a user who is
// not root. The lab's kernel has everything that is needed.
func TestCheckLooksAtTheHost(t *testing.T) {
	m := lab.NewMesh(t)
	hub := m.Hub
	hub.WriteFile("/etc/cygnet/gre1.psk", 0o600, hub.PSK+"\n")
	hub.WriteFile(lab.CygnetConfig, 0o644, hub.Config())
	charon := hub.DebianCharon("")
	found := func(want int) string {
		out, err := hub.TryCygnet("check")
		if code := exitCode(err); code != want {
			t.Errorf("cygnet check exits with %d, want %d", code, want)
		}
		if !contains(out, lab.CygnetConfig+" is valid") || strings.Contains(out, "kernel: no ") ||
			strings.Contains(out, "not tried") {
			t.Errorf("cygnet check says\n%s", out)
		}
		return out
	}
	if out := found(0); !contains(out, "THIS HOST", "strongSwan: charon is set up for few peers",
		"threads = 32 (it is 16)", "noticed after 2m55s", "install_routes = no") {
		t.Errorf("of Debian's settings it says\n%s", out)
	}
	hub.WriteFile("/etc/strongswan.d/cygnet.conf", 0o644, contrib(t, "swanctl/charon-cygnet.conf"))
	if out := found(0); contains(out, "strongSwan:") {
		t.Errorf("of the settings that we recommend it says\n%s", out)
	}
	charon.Terminate()
	if out := found(0); contains(out, "strongSwan:") {
		t.Errorf("without charon it says\n%s", out)
	}

	hub.WriteFile(lab.CygnetConfig, 0o644,
		replace(hub.Config(), `psk_file = "/etc/cygnet/gre1.psk"`, `auth = "certificate"`))
	if out := found(5); !contains(out,
		`certificates: gre1: no certificate for the identity "hub.example.net"`,
		"no authority is in /etc/swanctl/x509ca") {
		t.Errorf("of missing certificates it says\n%s", out)
	}
	out, err := hub.TryAsNobody("cygnet", "check")
	if exitCode(err) != 5 ||
		!contains(out, "is valid", "kernel: what it has was not tried: run this as root",
			`no certificate for the identity "hub.example.net"`) {
		t.Errorf("to somebody who is not root it says, with %v,\n%s", err, out)
	}

	// A device that this host does not have is an error. With --offline, which is for the file of
	// another machine, cygnet check does not look at this host.
	hub.WriteFile("/etc/cygnet/other.toml", 0o644,
		replace(hub.Config(), `underlay = "eth0"`, `underlay = "eth77"`))
	if out, err := hub.TryCygnet("check", "/etc/cygnet/other.toml"); exitCode(err) != 5 ||
		!contains(out, "this host has no device eth77") {
		t.Errorf("of another machine's device it says, with %v,\n%s", err, out)
	}
	if out, err := hub.TryCygnet("check", "--offline", "/etc/cygnet/other.toml"); err != nil ||
		contains(out, "THIS HOST") {
		t.Errorf("offline it says, with %v,\n%s", err, out)
	}
}

// exitCode returns the exit code of a program that was run, or -1 if it could not be run.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}
