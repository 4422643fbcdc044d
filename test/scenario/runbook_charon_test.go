//go:build lab

package scenario

import (
	"syscall"
	"testing"

	"cygnet/test/lab"
)

// The runbook's entries on another charon, on a certificate that ends, and on a spoke that was
// stolen, are what an administrator sees and does.
func TestRunbookCharon(t *testing.T) {
	m := lab.NewMesh(t)
	ca := m.Certify()
	ca.Issue(m.Spoke1.Router, "spoke1.example.net", "--lifetime", "5")
	rule1, rule2 := lab.Rule("spoke1.example.net", "10.255.0.11"),
		lab.Rule("spoke2.example.net", "10.255.0.12")
	m.Hub.Rules = []string{rule1, rule2}
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)

	e := runbook(t, m, "charon was replaced")
	m.Spoke1.Charon.Kill()
	e.follow("spoke1# cygnet status")
	m.Spoke1.Host.Ping(m.Hub.Host.Addr, 2)
	// The daemon must not dial before charon has its certificates: the events would tell of that.
	m.Spoke1.Daemon.Signal(syscall.SIGSTOP)
	m.Spoke1.Charon.Start()
	m.Spoke1.Run("swanctl", "--load-creds")
	m.Spoke1.Daemon.Signal(syscall.SIGCONT)
	registered(m, m.Spoke1, later)
	e.follow("spoke1# cygnet events")
	e.well(m.Spoke1)
	e.follow("spoke1# cygnet status")
	e.end()

	e = runbook(t, m, "A certificate ends")
	const certificate = "/etc/swanctl/x509/router.pem"
	e.shows(true, m.Spoke1, "status", certificate)
	e.follow("spoke1# cygnet check")
	ca.Issue(m.Spoke1.Router, "spoke1.example.net", lab.Expired()...)
	m.Spoke1.Run("swanctl", "--load-creds", "--clear")
	m.Spoke1.Host.Ping(m.Hub.Host.Addr, 2)
	for _, sa := range m.Hub.Charon.With(m.Spoke1.Public) {
		_, _ = m.Hub.Try("swanctl", "--terminate", "--ike-id", sa.ID)
	}
	e.follow("spoke1# cygnet status")
	e.follow("spoke1# cygnet check")
	ca.Issue(m.Spoke1.Router, "spoke1.example.net")
	e.follow("spoke1# swanctl --load-creds")
	e.follow("spoke1# cygnet status")
	e.shows(false, m.Spoke1, "status", certificate)
	e.well(m.Spoke1)
	e.end()

	e = runbook(t, m, "A spoke was stolen")
	registered(m, m.Spoke1, later)
	shortcut(m)
	e.follow("hub# cygnet peer block spoke2.example.net")
	e.follow("hub# cygnet status")
	e.follow("spoke1# cygnet events")
	ca.Revoke(m.Hub.Router, "spoke2.example.net")
	e.follow("hub# cygnet peer unblock spoke2.example.net")
	e.follow("spoke2# cygnet status")
	e.follow("hub# cygnet events")
	m.Hub.Rules = []string{rule1}
	m.Hub.WriteFile(lab.CygnetConfig, 0o640, m.Hub.Config())
	m.Hub.Cygnet("reload")
	e.shows(false, m.Hub, "bindings", "spoke2.example.net", "10.255.0.12")
	e.shows(true, m.Hub, "status", "192.0.2.12 cannot make an SA with this router",
		"certificate was revoked")
	e.end()
	encrypted(m)
}
