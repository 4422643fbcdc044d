//go:build lab

package scenario

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// spokeRule returns a rule that lets each spoke of a mesh be itself and announce its own LAN, and
// nothing else.
func spokeRule() string {
	return lab.Rule("spoke{n}.example.net", "10.255.0.10+{n}", `announce = ["172.16.{n}.0/24"]`)
}

// count returns how many lines of the daemon's log have all of these words.
func count(s *lab.Site, words ...string) int {
	n := 0
	for line := range strings.Lines(s.Daemon.Output()) {
		if contains(line, words...) {
			n++
		}
	}
	return n
}

// The hub has one rule, with a capture in it. The rule gives spoke1 its address, and does not give
// that address to spoke2, whose certificate is as good: neither before spoke1 has registered nor
// while it is registered. Both logs say why, and the hub remembers nothing of spoke2.
func TestRuleBindsAddresses(t *testing.T) {
	m := lab.NewMesh(t)
	m.Certify()
	m.Hub.Rules = []string{spokeRule()}
	m.Spoke2.Interface[0] = `address = "10.255.0.11/24"`
	m.Spoke2.Overlay = m.Spoke1.Overlay
	m.Hub.Start()
	m.Spoke2.Start()
	refused := func() error {
		n, err := nhs(m.Spoke2)
		if err != nil {
			return err
		}
		return lab.True(n.State == api.NHSRefused &&
			contains(n.Error, "administratively prohibited"), "%+v", n)
	}
	m.Await("the hub refuses spoke2 before spoke1 is there", soon, refused)
	if at, ok := m.Hub.Neighbors("gre1")[m.Spoke1.Overlay]; ok {
		t.Errorf("the hub has %s at %s", m.Spoke1.Overlay, at)
	}
	m.Spoke1.Start()
	registered(m, m.Spoke1, soon)
	m.Await("the hub goes on refusing", soon, refused)
	m.Await("the hub says who asked for what, and which rule refused", soon, func() error {
		return logged(m.Hub, "request refused", "protocol=10.255.0.11", "nbma=192.0.2.12",
			"identity=spoke2.example.net",
			"gives spoke2.example.net the address 10.255.0.12, not 10.255.0.11",
			lab.CygnetConfig+":")
	})
	if err := logged(m.Spoke2, "refused", "administratively prohibited"); err != nil {
		t.Error(err)
	}
	if out := m.Hub.Cygnet("bindings"); strings.Contains(out, "spoke2") {
		t.Errorf("the hub remembers spoke2: %s", out)
	}
	if out, err := m.Hub.TryCygnet("policy", "test", "spoke2.example.net",
		"10.255.0.11"); err == nil || !contains(out, "REFUSED", "10.255.0.12, not 10.255.0.11") {
		t.Errorf("policy test: %v: %s", err, out)
	}
	m.Spoke1.Host.Ping(m.Hub.Host.Addr, 3)

	m.Spoke2.Daemon.Terminate()
	m.Spoke2.Interface[0] = `address = "10.255.0.12/24"`
	m.Spoke2.Overlay = netip.MustParseAddr("10.255.0.12")
	m.Spoke2.IP("link del gre1")
	m.Spoke2.StartDaemon()
	registered(m, m.Spoke2, later)
	shortcut(m)
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 5)
	encrypted(m)
}

// A rule also binds what a spoke may announce: its own LAN and no other network.
func TestRuleBindsPrefixes(t *testing.T) {
	m := lab.NewMesh(t)
	m.Certify()
	m.Hub.Rules = []string{spokeRule()}
	m.Hub.UseRoutes()
	m.Spoke1.Interface = append(m.Spoke1.Interface, `announce = ["172.16.1.0/24"]`)
	m.Spoke2.Interface = append(m.Spoke2.Interface, `announce = ["172.16.2.0/24", "172.16.3.0/24"]`)
	m.Start()
	registered(m, m.Spoke2, soon)
	m.Await("the hub takes what each may announce", soon, func() error {
		for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
			if hop := m.Hub.NextHop(s.Host.Addr); hop != s.Overlay {
				return lab.True(false, "what is for %s goes via %s", s.Host.Addr, hop)
			}
		}
		return logged(m.Hub, "request refused", "172.16.3.0/24",
			"spoke2.example.net announce 172.16.2.0/24")
	})
	if routes := m.Hub.Routes("172.16.3.0/24"); len(routes) > 0 {
		t.Errorf("the hub has %+v", routes)
	}
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 3)
	encrypted(m)
}

// A router with a good certificate but without a rule gets an SA and nothing else. The hub refuses
// its registration with code 4. The SA, through which the router is told, is neither closed nor
// made anew again and again.
func TestIdentityWithoutRule(t *testing.T) {
	m := lab.NewMesh(t)
	m.Certify()
	m.Hub.Rules = []string{lab.Rule("spoke1.example.net", "10.255.0.11")}
	m.Start()
	registered(m, m.Spoke1, soon)
	m.Await("spoke2 is refused", soon, func() error {
		n, err := nhs(m.Spoke2)
		if err != nil {
			return err
		}
		return lab.True(n.State == api.NHSRefused && n.NBMA == m.Hub.Public, "%+v", n)
	})
	if err := secured(m.Spoke2, m.Hub); err != nil {
		t.Errorf("spoke2 has no SA to hear it by: %v", err)
	}
	before := m.Spoke2.Charon.With(m.Hub.Public)
	lines := count(m.Hub, "registration refused", "spoke2.example.net")
	m.Await("it asked again", later, func() error {
		return lab.True(count(m.Hub, "registration refused", "spoke2.example.net") > lines,
			"%d lines", lines)
	})
	after := m.Spoke2.Charon.With(m.Hub.Public)
	if len(before) != 1 || len(after) != 1 || before[0].ID != after[0].ID {
		t.Errorf("the SA did not stay: %+v, then %+v", before, after)
	}
	st, err := status(m.Hub)
	if err != nil ||
		!contains(m.Hub.Cygnet("status"),
			"peer 192.0.2.12 may do nothing here: no peer rule matches its identity spoke2.example.net") {
		t.Errorf("status: %v %+v", err, st.Interfaces)
	}
	if at, ok := m.Hub.Neighbors("gre1")[m.Spoke2.Overlay]; ok {
		t.Errorf("the hub has spoke2 at %s", at)
	}
	encrypted(m)
}

// charon itself refuses some certificates: one that has expired, one for another identity than the
// router claims, and one that was revoked, from the router's next authentication on.
func TestBadCertificates(t *testing.T) {
	m := lab.NewMesh(t)
	ca := m.Certify()
	ca.Issue(m.Spoke1.Router, "spoke1.example.net", lab.Expired()...)
	m.Hub.Start()
	m.Spoke1.Start()
	m.Spoke2.Start()
	registered(m, m.Spoke2, soon)
	unsecuredSpoke1 := func(why string) {
		t.Helper()
		m.Await("spoke1 gets no SA, and says so: "+why, later, func() error {
			n, err := nhs(m.Spoke1)
			if err != nil {
				return err
			}
			return lab.True(n.State == api.NHSSecuring && n.Error != "", "%+v", n)
		})
		if err := secured(m.Hub, m.Spoke1); err == nil {
			t.Errorf("%s: the hub has an SA with it", why)
		}
		if at, ok := m.Hub.Neighbors("gre1")[m.Spoke1.Overlay]; ok {
			t.Errorf("%s: the hub has it at %s", why, at)
		}
	}
	unsecuredSpoke1("expired")
	m.Spoke1.Daemon.Terminate()
	ca.Issue(m.Spoke1.Router, "spoke3.example.net") // the router claims to be spoke1
	m.Spoke1.Run("swanctl", "--load-creds")
	m.Spoke1.StartDaemon()
	unsecuredSpoke1("another identity's")
	m.Spoke1.Daemon.Terminate()
	ca.Issue(m.Spoke1.Router, "spoke1.example.net")
	m.Spoke1.Run("swanctl", "--load-creds")
	m.Spoke1.StartDaemon()
	registered(m, m.Spoke1, later)

	ca.Revoke(m.Hub.Router, "spoke2.example.net")
	// What was proven before stays until the next authentication.
	m.Spoke2.Host.Ping(m.Hub.Host.Addr, 3)
	m.Hub.Run("swanctl", "--terminate", "--ike-id", m.Hub.Charon.With(m.Spoke2.Public)[0].ID)
	m.Await("spoke2 is authenticated no more", later, func() error {
		n, err := nhs(m.Spoke2)
		if err != nil {
			return err
		}
		if at, ok := m.Hub.Neighbors("gre1")[m.Spoke2.Overlay]; ok {
			return lab.True(false, "the hub has spoke2 at %s", at)
		}
		return lab.True(n.State == api.NHSSecuring && n.Error != "", "%+v", n)
	})
	m.Spoke1.Host.Ping(m.Hub.Host.Addr, 3)
	encrypted(m)
}

// Two routers have one identity and one overlay address. The hub serves the router that came last
// and tells the other why it is not served. Nothing flaps, and the status reports what is wrong.
func TestTwoRoutersWithOneIdentity(t *testing.T) {
	m := lab.NewMesh(t)
	m.Spoke2.Interface[0] = m.Spoke1.Interface[0]
	m.Spoke2.IPsec[0] = m.Spoke1.IPsec[0]
	m.Spoke2.Overlay = m.Spoke1.Overlay
	m.Add(`holding_time = "15s"`) // refreshed every five seconds
	m.Hub.Start()
	m.Spoke1.Start()
	registered(m, m.Spoke1, soon)
	m.Spoke2.Start()
	registered(m, m.Spoke2, soon)
	m.Await("spoke1 is told that it is one of two", soon, func() error {
		n, err := nhs(m.Spoke1)
		if err != nil {
			return err
		}
		return lab.True(n.State == api.NHSRefused && contains(n.Error, "unique"), "%+v", n)
	})
	sas := append(m.Hub.Charon.With(m.Spoke1.Public), m.Hub.Charon.With(m.Spoke2.Public)...)
	start := time.Now()
	train := m.Spoke2.Host.Train(m.Hub.Host.Addr, 100*time.Millisecond)
	m.Await("four more registrations of spoke2", later, func() error {
		n, err := nhs(m.Spoke2)
		if err != nil {
			return err
		}
		return lab.True(n.State == api.NHSRegistered && n.Registered.Sub(start) > 15*time.Second,
			"%+v", n)
	})
	train.Stop()
	if moves := count(m.Hub, "moved to another NBMA address"); moves != 1 {
		t.Errorf("the binding moved %d times, not once", moves)
	}
	if now := append(m.Hub.Charon.With(m.Spoke1.Public),
		m.Hub.Charon.With(m.Spoke2.Public)...); len(now) != 2 || len(sas) != 2 ||
		now[0].ID != sas[0].ID || now[1].ID != sas[1].ID {
		t.Errorf("the SAs did not stay: %+v, then %+v", sas, now)
	}
	if at := m.Hub.Neighbors("gre1")[m.Spoke2.Overlay]; at != m.Spoke2.Public {
		t.Errorf("the hub has %s at %s", m.Spoke2.Overlay, at)
	}
	if out := m.Hub.Cygnet("status"); !contains(out,
		"spoke1.example.net is proven from 192.0.2.11 and 192.0.2.12") {
		t.Errorf("status: %s", out)
	}
	m.Spoke2.Cygnet("leave")
	registered(m, m.Spoke1, later)
	encrypted(m)
}
