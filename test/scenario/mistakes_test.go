//go:build lab

package scenario

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// reports returns nil when a site's status has a problem with this code and subject, whose text and
// remedy have all of these words.
func reports(s *lab.Site, code api.ProblemCode, subject string, words ...string) error {
	st, err := status(s)
	if err != nil {
		return err
	}
	for _, p := range st.Problems {
		if p.Code == code && p.Subject == subject && contains(p.Text+"; "+p.Remedy, words...) {
			return nil
		}
	}
	var all []string
	for _, p := range st.Problems {
		all = append(all, fmt.Sprintf("%s %s: %s; %s", p.Code, p.Subject, p.Text, p.Remedy))
	}
	return fmt.Errorf("%s has no problem %s of %s with %q, but\n\t%s", s.Name, code, subject, words,
		strings.Join(all, "\n\t"))
}

// mistaken is a mesh in which the test makes one mistake after the other, and reconfigures the
// routers in between.
type mistaken struct{ *lab.Mesh }

// both awaits that the status of both routers names a mistake: each look returns nil then. If that
// takes too long, both reports an error and the test goes on with the next mistake.
func (m mistaken) both(mistake string, looks ...func() error) {
	m.Helper()
	start := time.Now()
	for _, look := range looks {
		if err := lab.Poll(named, look); err != nil {
			m.Errorf("%s: not named within %s: %v", mistake, named, err)
		}
	}
	m.Logf("%s: named at both ends after %s", mistake, time.Since(start).Round(time.Second))
}

// named is how long it may take until a mistake is named. With the short timers here it takes half
// a minute at most, on a machine at rest.
const named = 90 * time.Second

// reload has a site's daemon load the configuration that the site has now.
func (m mistaken) reload(s *lab.Site) {
	m.Helper()
	s.WriteFile(lab.CygnetConfig, 0o640, s.Config())
	s.Daemon.Signal(syscall.SIGHUP)
}

// with changes one line of a site's tunnel configuration and has the site reload. The line replaces
// the line with the same key, or is added at the end. The function that it returns takes the change
// back, without a reload.
func (m mistaken) with(s *lab.Site, line string) (restore func()) {
	m.Helper()
	before := s.Interface
	s.Interface = exchanged(before, line)
	m.reload(s)
	return func() { s.Interface = before }
}

// exchanged returns the lines with another line in the place of the one with the same key, or at
// the end if no line has that key.
func exchanged(lines []string, line string) []string {
	key, _, _ := strings.Cut(line, " =")
	out := append([]string(nil), lines...)
	for i := range out {
		if strings.HasPrefix(out[i], key+" =") {
			out[i] = line
			return out
		}
	}
	return append(out, line)
}

// dropping adds a firewall rule by which a site drops packets. The function that it returns deletes
// the rule.
func (m mistaken) dropping(s *lab.Site, chain string, rule ...string) (restore func()) {
	m.Helper()
	rule = append(rule, "-j", "DROP")
	s.Iptables(append([]string{"-A", chain}, rule...)...)
	return func() { s.Iptables(append([]string{"-D", chain}, rule...)...) }
}

// A mistake that two routers make together is named in the status of both. Each spoke makes one
// mistake after the other with the hub.
func TestMistakesOfTwoRouters(t *testing.T) {
	m := mistaken{lab.NewMesh(t)}
	hub, one, two := m.Hub, m.Spoke1, m.Spoke2
	const nhs, at1, at2 = "192.0.2.1", "192.0.2.11", "192.0.2.12"
	m.Add(`holding_time = "10s"`)
	one.Interface = exchanged(one.Interface, "key = 43")
	two.Interface = append(two.Interface, `authentication = "duck-2"`)
	m.Start()

	m.both("different GRE keys",
		func() error {
			return reports(hub, api.ProblemGRENotReceived, at1, "spoke1.example.net", "compare key",
				"key = 42")
		},
		func() error {
			return reports(one, api.ProblemNHSUnanswered, nhs, "none came back", "compare key",
				"key = 43")
		})
	m.both("different NHRP passwords",
		func() error {
			return reports(hub, api.ProblemPassword, at2, "spoke2.example.net", "authentication")
		},
		func() error {
			if err := reports(two, api.ProblemNHSUnanswered, nhs, "password"); err != nil {
				return reports(two, api.ProblemNHSRefused, nhs, "password")
			}
			return nil
		})

	one.Interface = exchanged(exchanged(one.Interface, "key = 42"), `address = "10.254.0.11/24"`)
	m.reload(one)
	two.Interface = two.Interface[:len(two.Interface)-1]
	allow := m.dropping(two, "INPUT", "-p", "gre")
	m.reload(two)
	m.both("another overlay prefix",
		func() error {
			return reports(hub, api.ProblemRegistrationRefused, at1,
				"10.254.0.11 is outside our overlay 10.255.0.0/24")
		},
		func() error {
			return reports(one, api.ProblemNHSRefused, nhs,
				"10.255.0.1 is outside our overlay 10.254.0.0/24")
		})
	m.both("a firewall at the spoke that drops GRE",
		func() error {
			return reports(hub, api.ProblemAnswersUnheard, at2, "the answers do not reach it",
				"protocol 47")
		},
		func() error {
			return reports(two, api.ProblemNHSUnanswered, nhs, "not out of the tunnel",
				"drops GRE (protocol 47) here")
		})

	allow()
	one.Interface = exchanged(one.Interface, `address = "10.255.0.11/24"`)
	m.reload(one)
	registered(m.Mesh, one, later)
	restore := m.with(two, `address = "10.255.0.11/24"`)
	m.both("two routers with one overlay address",
		func() error {
			return reports(hub, api.ProblemRegistrationRefused, at2, "10.255.0.11", at1,
				"spoke1.example.net")
		},
		func() error {
			return reports(two, api.ProblemNHSRefused, nhs,
				"another router has our overlay address 10.255.0.11")
		})

	restore()
	m.reload(two)
	registered(m.Mesh, two, later)
	allow1, allow2 := m.dropping(hub, "INPUT", "-p", "gre", "-s", at1),
		m.dropping(hub, "INPUT", "-p", "esp", "-s", at2)
	m.both("a firewall at the hub that drops GRE",
		func() error {
			return reports(hub, api.ProblemGRENotReceived, at1, "none out of the tunnel",
				"firewall here drops GRE")
		},
		func() error {
			return reports(one, api.ProblemNHSUnanswered, nhs, "none came back",
				"drops GRE (protocol 47) there")
		})
	m.both("a firewall at the hub that drops ESP",
		func() error {
			return reports(hub, api.ProblemPeerSilent, at2, "nothing has come through the SA",
				"protocol 50")
		},
		func() error {
			return reports(two, api.ProblemNHSUnanswered, nhs, "none came back",
				"drops ESP (protocol 50")
		})

	allow1()
	allow2()
	registered(m.Mesh, one, later)
	registered(m.Mesh, two, later)
	allow1 = m.dropping(one, "OUTPUT", "-p", "gre")
	m.both("a firewall at the spoke that drops GRE on its way out",
		func() error {
			return reports(one, api.ProblemNHSUnanswered, nhs, "does not get into the SA",
				"on its way out")
		},
		func() error {
			return reports(hub, api.ProblemPeerSilent, at1, "nothing has come through the SA",
				"drops GRE (protocol 47) on its way out")
		})
	allow1()

	two.Cygnet("leave")
	two.Daemon.Terminate()
	two.PSK = "not the key of this mesh"
	two.StartDaemon()
	m.both("different PSKs",
		func() error {
			return reports(hub, api.ProblemPeerAuthentication, at2, "spoke2.example.net",
				"compare the PSK")
		},
		func() error { return reports(two, api.ProblemNHSUnsecured, nhs, "same PSK") })
	if n := strings.Count(hub.Daemon.Output(), "cannot make an SA with this one"); n > 3 {
		t.Errorf("the hub's log says %d times that spoke2 has another PSK", n)
	}

	// The hub expects identities that its spokes do not have. It keeps no SA of theirs.
	two.Daemon.Terminate()
	two.PSK = hub.PSK
	two.StartDaemon()
	hub.IPsec = append(hub.IPsec, `remote_identity = "*.branch.example.net"`)
	m.reload(hub)
	m.both("a remote_identity that is too narrow",
		func() error {
			return reports(hub, api.ProblemPeerAuthentication, at2, "spoke2.example.net",
				"compare remote_identity here")
		},
		func() error {
			return reports(two, api.ProblemNHSUnsecured, nhs,
				"that the peer accepts the identity \"spoke2.example.net\"")
		})
	hub.IPsec = hub.IPsec[:len(hub.IPsec)-1]
	m.reload(hub)

	protected := one.IPsec
	one.IPsec, one.Interface = nil, append(one.Interface, `protection = "none"`)
	m.reload(one)
	m.both("IPsec at the hub only",
		func() error {
			return reports(hub, api.ProblemClearGRE, at1, "in clear", `protection = "ipsec" there`)
		},
		func() error { return reports(one, api.ProblemNHSUnanswered, nhs, `protection = "none"`) })

	one.IPsec, one.Interface = protected, one.Interface[:len(one.Interface)-1]
	m.reload(one)
	registered(m.Mesh, one, later)
	hub.IPsec, hub.Interface = nil, append(hub.Interface, `protection = "none"`)
	m.reload(hub)
	hub.Charon.Terminate()
	m.both("IPsec at the spoke only",
		func() error {
			return reports(hub, api.ProblemUnexpectedIKE, at1, "tries IKE", `protection = "none"`)
		},
		func() error {
			return reports(one, api.ProblemNHSUnsecured, nhs, "no answer",
				"its tunnel has IPsec too")
		})
	alive(m.Mesh)
}
