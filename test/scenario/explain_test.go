//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// account returns what the daemon of a site says of the way to an address; source may be zero.
func account(s *lab.Site, dest, source netip.Addr) (api.Explanation, error) {
	query := "explain?destination=" + dest.String()
	if source.IsValid() {
		query += "&source=" + source.String()
	}
	var x api.Explanation
	return x, s.CygnetJSON(&x, query)
}

// explains awaits that the account of a site has a verdict, and that the command has all of these
// words in one of its lines. It returns what the command prints.
func explains(
	m *lab.Mesh, s *lab.Site, dest, source netip.Addr, path api.PathKind, reason api.VerdictReason,
	words ...string,
) string {
	m.Helper()
	return explainsAfter(m, func() {}, s, dest, source, path, reason, words...)
}

// explainsAfter does what explains does, and calls send each time that the account is another one.
// Nothing repeats an indication that was lost, or a question that ended without an answer: only
// another packet leads to the next one.
func explainsAfter(
	m *lab.Mesh, send func(), s *lab.Site, dest, source netip.Addr, path api.PathKind,
	reason api.VerdictReason, words ...string,
) string {
	m.Helper()
	args, out := []string{"explain", dest.String()}, ""
	if source.IsValid() {
		args = append(args, "from", source.String())
	}
	look := func() error {
		x, err := account(s, dest, source)
		if err != nil {
			return err
		}
		if x.Verdict.Path != path || x.Verdict.Reason != reason {
			return fmt.Errorf("it says %+v", x.Verdict)
		}
		out = s.Cygnet(args...)
		return lab.True(hasLine(out, words...), "no line has %q:\n%s", words, out)
	}
	m.Await(
		fmt.Sprintf("%s explains %s from %s: %s, %s", s.Name, dest, source, path, reason),
		later,
		func() error {
			err := look()
			if err != nil {
				send()
			}
			return err
		},
	)
	m.Logf("%s: cygnet %s\n%s", s.Name, strings.Join(args, " "), out)
	return out
}

// sending returns a function that sends a packet from a site's host.
func sending(s *lab.Site, dest netip.Addr) func() { return func() { nudge(s, dest) } }

// hasLine reports whether a line of a text has all of these words.
func hasLine(text string, words ...string) bool {
	return slices.ContainsFunc(strings.Split(text, "\n"),
		func(line string) bool { return contains(line, words...) })
}

// nobody is the source of an account of a router's own packets.
var nobody netip.Addr

// A spoke explains the way to another spoke's network while it changes: by the hub before anybody
// told of a shorter way, then directly. The hub explains the pair. Each step has what the kernel
// and charon have. Without the daemon the command shows what these two have.
func TestExplain(t *testing.T) {
	m := lab.NewMesh(t)
	// A daemon that is stopped answers no probes: spoke2 must not give up the path meanwhile.
	m.Add(`path_timeout = "1m"`)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	here, there := m.Spoke1.Host.Addr, m.Spoke2.Host.Addr
	out := explains(m, m.Spoke1, there, nobody, api.PathHub, api.ReasonNoIndication,
		"172.16.0.0/16 via 10.255.0.1 on gre1", "by hand or a script")
	if !hasLine(out, "CHILD_SA", "INSTALLED") || !hasLine(out, "kernel: ESP", "out") {
		t.Errorf("the SA with the hub is not there:\n%s", out)
	}
	explains(m, m.Hub, there, here, api.PathHub, api.ReasonNoPacket, "10.255.0.11 at 192.0.2.11")
	explains(
		m,
		m.Hub,
		there,
		nobody,
		api.PathRouted,
		"",
		"10.255.0.12 registered here",
		"spoke2.example.net",
	)
	explains(m, m.Spoke1, netip.MustParseAddr("192.0.2.77"), nobody, api.PathElsewhere, "",
		"192.0.2.0/24 directly on eth0")

	shortcut(m)
	out = explains(m, m.Spoke1, there, nobody, api.PathDirect, "",
		"172.16.2.0/24 via 10.255.0.12 on gre1", "by cygnetd")
	for _, words := range [][]string{
		{"10.255.0.1 indicated a shorter way"},
		{"asked 10.255.0.1 at 192.0.2.1"},
		{"10.255.0.12 answered: 172.16.2.0/24 is behind 10.255.0.12 at 192.0.2.12"},
		{"the kernel has it at 192.0.2.12, put there by cygnetd"},
		{"data from it is accepted", "shortcut"},
	} {
		if !hasLine(out, words...) {
			t.Errorf("no line has %q:\n%s", words, out)
		}
	}
	explains(m, m.Hub, there, here, api.PathHub, api.ReasonPassedOn,
		"its question was passed on to 10.255.0.12 at 192.0.2.12")

	m.Spoke1.Daemon.Kill()
	out = m.Spoke1.Cygnet("explain", there.String())
	t.Logf("without the daemon\n%s", out)
	for _, words := range [][]string{
		{"cygnetd is NOT RUNNING"},
		{"172.16.2.0/24 via 10.255.0.12 on gre1", "by cygnetd"},
		{"the kernel has it at 192.0.2.12"},
		{"charon: IKE_SA", "ESTABLISHED", "spoke2.example.net"},
		{"kernel: ESP", "out"},
	} {
		if !hasLine(out, words...) {
			t.Errorf("without the daemon no line has %q:\n%s", words, out)
		}
	}
	m.Spoke1.Daemon.Start()
	explains(m, m.Spoke1, there, nobody, api.PathDirect, "")
	encrypted(m)
}

// evidence awaits that a site's account of the way to an address, with or without its daemon, has
// all of these words of each place in a line: the next hop and where the kernel has it. It has the
// SAs and one pair of ESP states with that router alone.
func evidence(m *lab.Mesh, s *lab.Site, dest netip.Addr, router *lab.Site, words ...string) {
	m.Helper()
	m.Await(s.Name+" has the evidence of the way to "+dest.String(), soon, func() error {
		out, err := s.TryCygnet("explain", dest.String())
		if err != nil {
			return err
		}
		place := router.Overlay.String() + " at " + placeOf(s, router)
		at := "the kernel has it at " + placeOf(s, router) + ", put there by cygnetd"
		for _, line := range [][]string{words, {place}, {at}, {"charon: CHILD_SA", "INSTALLED"}} {
			if !hasLine(out, line...) {
				return fmt.Errorf("no line has %q:\n%s", line, out)
			}
		}
		identity := "peer " + router.Name + ".example.net"
		all, own := strings.Count(out, "charon: IKE_SA "), strings.Count(out, identity)
		states := espLine.FindAllStringSubmatch(out, -1)
		return lab.True(all == own && own > 0 && len(states) == 2 && states[0][1] != states[1][1],
			"%d IKE_SAs, %d of them with the %s, ESP states %q:\n%s", all, own, identity, states,
			out)
	})
}

// espLine matches an ESP state in an account.
var espLine = regexp.MustCompile(`kernel: ESP [0-9a-f]{8} (in|out) `)

// placeOf returns where a site has a router in the words of its account: the router's address, with
// the mark of the SA by which the kernel sends to it.
func placeOf(s, router *lab.Site) string {
	if mark, is := xfrm.MarkOf(s.Neighbors("gre1")[router.Overlay]); is {
		return fmt.Sprintf("%s, mark %d", router.Public, mark)
	}
	return router.Public.String()
}

// nudge sends a packet from a site's host. The packet may be lost.
func nudge(s *lab.Site, dest netip.Addr) {
	_, _ = s.Host.Try("ping", "-n", "-c", "1", "-W", "1", dest.String())
}

// noDirect is a peer rule by which an identity may have its overlay address and no direct path, and
// everyone is a rule for all the others.
func noDirect(s *lab.Site) string {
	return fmt.Sprintf(
		"[[interface.gre1.peer]]\nidentity = %q\naddresses = [%q]\nshortcut = false\n",
		s.Name+".example.net",
		s.Overlay,
	)
}

const everyone = "[[interface.gre1.peer]]\nidentity = \"*\"\naddresses = [\"10.255.0.0/24\"]\n"

// A spoke explains why its traffic stays on the hub: the other spoke's rule refuses it, its own
// rule forbids it, nobody answers, it does not ask. The hub says the same of the pair, and that it
// tells nobody of shorter ways.
func TestExplainRefusals(t *testing.T) {
	m := lab.NewMesh(t, lab.ThirdSpoke())
	m.Hub.Interface[len(m.Hub.Interface)-1] = "redirect = false"
	m.Spoke2.Rules = []string{noDirect(m.Spoke1), everyone}
	m.Spoke1.Rules = []string{noDirect(m.Spoke3), everyone}
	m.Spoke3.Interface[len(m.Spoke3.Interface)-1] = "shortcut = false"
	m.Start()
	for _, s := range m.Sites()[1:] {
		registered(m, s, soon)
	}
	host1, host2, host3 := m.Spoke1.Host.Addr, m.Spoke2.Host.Addr, m.Spoke3.Host.Addr
	m.Spoke1.Host.Ping(host2, 2)
	explains(m, m.Hub, host2, host1, api.PathHub, api.ReasonRedirectOff, "redirect off")
	explains(m, m.Spoke3, host1, nobody, api.PathHub, api.ReasonOff, "shortcuts off")

	m.Hub.Interface[len(m.Hub.Interface)-1] = "redirect = true"
	m.Hub.WriteFile(lab.CygnetConfig, 0o640, m.Hub.Config())
	m.Hub.Daemon.Signal(syscall.SIGHUP)
	m.Await("the hub tells of shorter ways", soon, func() error {
		st, err := status(m.Hub)
		return lab.True(err == nil && st.Interfaces[0].Redirect, "%v", err)
	})
	for _, s := range m.Sites()[1:] {
		registered(m, s, later)
	}
	explainsAfter(m, sending(m.Spoke1, host2), m.Spoke1, host2, nobody, api.PathHub,
		api.ReasonRefused, "10.255.0.12 answered no: code 4, administratively prohibited")
	explains(
		m,
		m.Hub,
		host2,
		host1,
		api.PathHub,
		api.ReasonRefused,
		"10.255.0.12 answered no: code 4",
	)
	explainsAfter(m, sending(m.Spoke1, host3), m.Spoke1, host3, nobody, api.PathHub,
		api.ReasonProhibited, "cygnet.toml:", "may NOT have direct paths")

	m.Spoke2.Daemon.Kill() // its SAs, and its binding at the hub, stay
	m.Await("spoke1 asks again", later, func() error {
		nudge(m.Spoke1, host2)
		x, err := account(m.Spoke1, host2, nobody)
		return lab.True(
			err == nil && x.Verdict.Reason == api.ReasonAsking,
			"%+v, %v",
			x.Verdict,
			err,
		)
	})
	explains(m, m.Spoke1, host2, nobody, api.PathHub, api.ReasonUnanswered, "6th time")
	encrypted(m)
}

// Spokes explain why there is no direct path although the answer was good: the path carries no ESP
// and has to cool down, the administrator has shut the other router out, or the shortcut ended.
func TestExplainFailures(t *testing.T) {
	m := lab.NewMesh(t)
	// A path that is in use must not fail, even where a daemon stands still for some seconds.
	m.Add(`path_timeout = "10s"`)
	// spoke2 uses its shortcut longer, so that it is spoke1 that ends the path.
	m.Spoke1.Interface = append(m.Spoke1.Interface, `idle_time = "10s"`)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	dest := m.Spoke2.Host.Addr
	drop := []string{"INPUT", "-s", m.Spoke1.Public.String(), "-p", "esp", "-j", "DROP"}
	m.Spoke2.Iptables(append([]string{"-A"}, drop...)...)
	explainsAfter(m, sending(m.Spoke1, dest), m.Spoke1, dest, nobody, api.PathHub,
		api.ReasonCoolDown, "the direct path to it failed", "may be tried again in")
	m.Spoke2.Iptables(append([]string{"-D"}, drop...)...)
	m.Await("a direct path", later, func() error {
		nudge(m.Spoke1, dest)
		x, err := account(m.Spoke1, dest, nobody)
		return lab.True(err == nil && x.Verdict.Path == api.PathDirect, "%+v, %v", x.Verdict, err)
	})
	explains(m, m.Spoke1, dest, nobody, api.PathHub, api.ReasonEnded, "not used for 10s")

	m.Spoke1.Cygnet("peer", "block", "spoke2.example.net")
	explains(
		m,
		m.Spoke1,
		dest,
		nobody,
		api.PathHub,
		api.ReasonBlocked,
		"spoke2.example.net is BLOCKED",
	)
	m.Hub.Cygnet("peer", "block", "spoke1.example.net")
	explains(
		m,
		m.Hub,
		m.Spoke1.Host.Addr,
		dest,
		api.PathNone,
		api.ReasonNoBinding,
		"172.16.1.0/24 via 10.255.0.11",
	)
	encrypted(m)
}

// Routers behind NAT, between which no IKE passes: a spoke says that both are behind NAT, or only
// that no SA could be had.
func TestExplainNAT(t *testing.T) {
	m := lab.NewMesh(
		t,
		lab.SpokeBehindNAT("spoke1"),
		lab.SpokeBehindNAT("spoke2"),
		lab.ThirdSpoke(),
	)
	m.Start()
	for _, s := range m.Sites()[1:] {
		registered(m, s, soon)
	}
	for _, peer := range []*lab.Site{m.Spoke2, m.Spoke3} {
		m.Spoke1.Iptables("-A", "INPUT", "-s", peer.Public.String(), "-p", "udp", "-j", "DROP")
		m.Spoke1.Iptables("-A", "OUTPUT", "-d", peer.Public.String(), "-p", "udp", "-j", "DROP")
	}
	host2, host3 := m.Spoke2.Host.Addr, m.Spoke3.Host.Addr
	m.Spoke1.Host.Ping(host2, 2)
	m.Spoke1.Host.Ping(host3, 2)
	explainsAfter(m, sending(m.Spoke1, host2), m.Spoke1, host2, nobody, api.PathHub,
		api.ReasonSecuring, "172.16.2.0/24 by 10.255.0.12", "securing")
	explainsAfter(m, sending(m.Spoke1, host2), m.Spoke1, host2, nobody, api.PathHub,
		api.ReasonNAT, "sends from 10.1.0.2, which NAT turns into 192.0.2.11")
	explainsAfter(m, sending(m.Spoke1, host3), m.Spoke1, host3, nobody, api.PathHub,
		api.ReasonNoSA, "no SA")
	encrypted(m)
}

// Routers behind one NAT address: the hub tells neither of a shorter way to the other, and a router
// elsewhere that cannot give packets marks has a direct path to one of them only.
func TestExplainOneNAT(t *testing.T) {
	m := lab.NewMesh(t, lab.SpokesBehindOneNAT())
	m.Spoke3.IP("link add taken type gre external")
	m.Start()
	for _, s := range m.Sites()[1:] {
		m.Await(s.Name+" is registered", later, func() error {
			n, err := nhs(s)
			return lab.True(err == nil && n.State == api.NHSRegistered, "%+v, %v", n, err)
		})
	}
	host1, host2, host3 := m.Spoke1.Host.Addr, m.Spoke2.Host.Addr, m.Spoke3.Host.Addr
	m.Spoke1.Host.Ping(host2, 2)
	explains(m, m.Hub, host2, host1, api.PathHub, api.ReasonSameNAT, "one NAT address")
	m.Await("a direct path to the first", later, func() error {
		nudge(m.Spoke3, host1)
		x, err := account(m.Spoke3, host1, nobody)
		return lab.True(err == nil && x.Verdict.Path == api.PathDirect, "%+v, %v", x.Verdict, err)
	})
	explainsAfter(m, sending(m.Spoke3, host2), m.Spoke3, host2, nobody, api.PathHub,
		api.ReasonShared, "shared address")
	explains(m, m.Hub, host2, host3, api.PathHub, api.ReasonPassedOn, "passed on")
	encrypted(m)
}
