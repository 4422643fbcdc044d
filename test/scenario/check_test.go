//go:build lab

package scenario

import (
	"strings"
	"testing"

	"cygnet/test/lab"
)

// What cygnet check says of a host: with charon as Debian ships it, with the settings that we recommend, without charon, and to somebody
// who is not root. The lab's kernel has all that is needed.
func TestCheckLooksAtTheHost(t *testing.T) {
	m := lab.NewMesh(t)
	hub := m.Hub
	hub.WriteFile("/etc/cygnet/gre1.psk", 0o600, hub.PSK+"\n")
	hub.WriteFile(lab.CygnetConfig, 0o644, hub.Config())
	charon := hub.DebianCharon("")
	found := func() string {
		out := hub.Cygnet("check")
		if !contains(out, lab.CygnetConfig+" is valid") || strings.Contains(out, "kernel: no ") || strings.Contains(out, "not tried") {
			t.Errorf("cygnet check says\n%s", out)
		}
		return out
	}
	if out := found(); !contains(out, "THIS HOST", "strongSwan: charon is set up for few peers", "threads = 32 (it is 16)", "noticed after 2m55s", "install_routes = no") {
		t.Errorf("of Debian's settings it says\n%s", out)
	}
	hub.WriteFile("/etc/strongswan.d/cygnet.conf", 0o644, contrib(t, "swanctl/charon-cygnet.conf"))
	if out := found(); contains(out, "strongSwan:") {
		t.Errorf("of the settings that we recommend it says\n%s", out)
	}
	charon.Terminate()
	if out := found(); contains(out, "strongSwan:") {
		t.Errorf("without charon it says\n%s", out)
	}

	hub.WriteFile(lab.CygnetConfig, 0o644, replace(hub.Config(), `psk_file = "/etc/cygnet/gre1.psk"`, `auth = "certificate"`))
	if out := found(); !contains(out, `certificates: gre1: no certificate for the identity "hub.example.net"`, "no authority is in /etc/swanctl/x509ca") {
		t.Errorf("of missing certificates it says\n%s", out)
	}
	out, err := hub.TryAsNobody("cygnet", "check")
	if err != nil || !contains(out, "is valid", "kernel: what it has was not tried: run this as root", `no certificate for the identity "hub.example.net"`) {
		t.Errorf("to somebody who is not root it says, with %v,\n%s", err, out)
	}
}
