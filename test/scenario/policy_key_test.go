//go:build lab

package scenario

import (
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// Each spoke has a key of its own in swanctl.conf. A router that has spoke2's key and claims to be
// spoke1 gets no SA. As spoke2 it gets an SA, and the rule lets it be spoke2.
func TestKeyForEachPeer(t *testing.T) {
	m := lab.NewMesh(t)
	keys := map[*lab.Site]string{
		m.Hub: `ike-1 {
			id = spoke1.example.net
			secret = "the key of the first spoke"
		}
		ike-2 {
			id = spoke2.example.net
			secret = "the key of the second spoke"
		}`,
		m.Spoke1: `ike { secret = "the key of the first spoke" }`,
		m.Spoke2: `ike { secret = "the key of the second spoke" }`,
	}
	claim := func(s *lab.Site, name string) {
		conf := replace(siteConf, "NAME", name, "ADDRESS", s.NBMA.String())
		conf = conf[:len(conf)-len(secretsOf(conf))] + "secrets {\n" + keys[s] + "\n}\n"
		s.WriteFile("/etc/swanctl/swanctl.conf", 0o640, conf)
	}
	for _, s := range m.Sites() {
		s.IPsec = []string{`swanctl_connection = "dmvpn"`}
		claim(s, s.Name)
		s.WriteFile("/etc/swanctl/conf.d/templates.conf", 0o640, siteTemplates)
	}
	claim(m.Spoke2, "spoke1")
	m.Hub.Rules = []string{spokeRule()}
	for _, s := range m.Sites() {
		s.Charon = s.Router.Charon()
		s.Run("swanctl", "--load-all")
		s.StartDaemon()
	}
	registered(m, m.Spoke1, soon)
	m.Await("spoke2 as spoke1 gets no SA", soon, func() error {
		n, err := nhs(m.Spoke2)
		if err != nil {
			return err
		}
		return lab.True(n.State == api.NHSSecuring && n.Error != "", "%+v", n)
	})
	if at, ok := m.Hub.Neighbors("gre1")[m.Spoke2.Overlay]; ok {
		t.Errorf("the hub has it at %s", at)
	}
	m.Spoke2.Daemon.Terminate()
	claim(m.Spoke2, "spoke2")
	m.Spoke2.Run("swanctl", "--load-all")
	m.Spoke2.StartDaemon()
	registered(m, m.Spoke2, later)
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 3)
	encrypted(m)
}

// secretsOf returns the last section of a site's swanctl.conf, which has the secrets.
func secretsOf(conf string) string {
	const begin = "secrets {"
	for i := len(conf) - len(begin); i >= 0; i-- {
		if conf[i:i+len(begin)] == begin {
			return conf[i:]
		}
	}
	return ""
}

// A hub's rule denies one spoke shortcuts. Traffic between the spokes stays on the hub, in both
// directions and for as long as there is any, and the hub indicates no shorter way.
func TestNoShortcutByRule(t *testing.T) {
	m := lab.NewMesh(t)
	m.Certify()
	m.Hub.Rules = []string{
		lab.Rule("spoke1.example.net", "10.255.0.11"),
		lab.Rule("spoke2.example.net", "10.255.0.12", "shortcut = false"),
	}
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	train := m.Spoke1.Host.Train(m.Spoke2.Host.Addr, 20*time.Millisecond)
	m.Await("the hub sees traffic that it indicates nothing for", soon, func() error {
		return droppedAtLeast(m.Hub, "administratively prohibited", 3)
	})
	if err := down(m, m.Spoke1, m.Spoke2); err != nil {
		t.Error(err)
	}
	if err := down(m, m.Spoke2, m.Spoke1); err != nil {
		t.Error(err)
	}
	if sent, lost := train.Stop(); lost > 0 || sent == 0 {
		t.Errorf("%d of %d pings were lost", lost, sent)
	}
	encrypted(m)
}
