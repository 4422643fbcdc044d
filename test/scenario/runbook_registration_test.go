//go:build lab

package scenario

import (
	"testing"

	"cygnet/test/lab"
)

// rewrite writes a site's configuration as it is now, and the pre-shared key, as an administrator
// does before a reload.
func rewrite(s *lab.Site) {
	s.WriteFile("/etc/cygnet/gre1.psk", 0o600, s.PSK+"\n")
	s.WriteFile(lab.CygnetConfig, 0o640, s.Config())
}

// The runbook's entries on a spoke that does not register, and on a hub that moves, are what an
// administrator sees and does.
func TestRunbookRegistration(t *testing.T) {
	m := lab.NewMesh(t)
	m.AddIPsec(`dpd_delay = "1s"`)
	rule1, rule2 := lab.Rule("spoke1.example.net", "10.255.0.11"),
		lab.Rule("spoke2.example.net", "10.255.0.12")
	m.Hub.Rules = []string{rule1, rule2}
	m.Spoke1.Interface[2] = "key = 43"
	m.Spoke1.PSK = "not the key of this mesh"
	useNHS(m.Spoke2, `nhs = [{ nbma = "hub.example.net" }]`)
	m.Spoke2.WriteFile("/etc/hosts", 0o644, "192.0.2.1 hub.example.net\n")
	drop := []string{"INPUT", "-s", "192.0.2.11", "-p", "udp", "-j", "DROP"}
	m.Hub.Iptables(append([]string{"-A"}, drop...)...)
	m.Start()
	registered(m, m.Spoke2, soon)

	e := runbook(t, m, "A spoke does not register")
	e.follow("spoke1# cygnet status") // no IKE comes through
	m.Hub.Iptables(append([]string{"-D"}, drop...)...)
	e.follow("spoke1# cygnet status") // the key is another one
	e.follow("hub# cygnet events")
	m.Spoke1.PSK = m.Hub.PSK
	rewrite(m.Spoke1)
	e.follow("spoke1# cygnet reload")
	e.follow("spoke1# cygnet status") // the GRE key is another one
	e.follow("hub# cygnet peers")
	m.Hub.Rules = []string{rule2}
	rewrite(m.Hub)
	m.Hub.Cygnet("reload")
	m.Spoke1.Interface[2] = "key = 42"
	rewrite(m.Spoke1)
	e.follow("spoke1# cygnet reload")
	e.follow("spoke1# cygnet status") // refused
	e.follow("hub# cygnet events")
	m.Hub.Rules = []string{rule1, rule2}
	rewrite(m.Hub)
	e.follow("hub# cygnet reload")
	e.follow("spoke1# cygnet register now")
	e.well(m.Spoke1)
	e.follow("spoke1# cygnet status")
	e.follow("hub# cygnet bindings")
	e.end()

	e = runbook(t, m, "The hub moves")
	m.Hub.IP("addr del 192.0.2.1/24 dev eth0", "addr add 192.0.2.2/24 dev eth0")
	m.Hub.Public = addr("192.0.2.2")
	e.follow("spoke1# cygnet status")
	m.Spoke2.WriteFile("/etc/hosts", 0o644, "192.0.2.2 hub.example.net\n")
	e.follow("spoke2# cygnet status")
	useNHS(m.Spoke1, `nhs = [{ nbma = "192.0.2.2" }]`)
	rewrite(m.Spoke1)
	e.follow("spoke1# cygnet reload --dry-run")
	e.follow("spoke1# cygnet reload")
	e.well(m.Spoke1, m.Spoke2)
	e.follow("spoke1# cygnet status")
	e.follow("hub# cygnet bindings")
	e.end()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	encrypted(m)
}
