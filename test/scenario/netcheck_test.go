//go:build lab

package scenario

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"cygnet/nhrpd/netcheck"
	"cygnet/test/lab"
)

// hubHosts is /etc/hosts with the hub's name.
const hubHosts = "127.0.0.1 localhost\n192.0.2.1 hub.example.net\n"

// checkedPaths is what cygnet netcheck found on a site.
type checkedPaths struct {
	*netcheck.Report
	code int // exit code
	text string
}

// netcheckOn runs cygnet netcheck on a site.
func netcheckOn(m *lab.Mesh, s *lab.Site, args ...string) checkedPaths {
	m.Helper()
	out, err := s.TryCygnet(append([]string{"--json", "netcheck"}, args...)...)
	c := checkedPaths{Report: &netcheck.Report{}}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		c.code = exit.ExitCode()
	}
	if err := json.Unmarshal([]byte(out), c.Report); err != nil {
		m.Fatalf("netcheck on %s: %v\n%s", s.Name, err, out)
	}
	c.text = strings.Join(netcheck.Lines(c.Report), "\n")
	m.Logf("%s %q: exit code %d\n%s", s.Name, args, c.code, c.text)
	return c
}

// server returns what was found of the only NHS.
func (c checkedPaths) server(m *lab.Mesh) *netcheck.Server {
	m.Helper()
	if len(c.Tunnels) != 1 || len(c.Tunnels[0].Servers) != 1 {
		m.Fatalf("want one NHS, have\n%s", c.text)
	}
	return &c.Tunnels[0].Servers[0]
}

// says fails the test unless the results about a thing have a verdict and words.
func (c checkedPaths) says(
	m *lab.Mesh, about string, want netcheck.Verdict, words ...string,
) {
	m.Helper()
	all := c.Results
	for _, t := range c.Tunnels {
		all = append(all, t.Results...)
		for _, s := range t.Servers {
			all = append(all, s.Results...)
		}
	}
	for _, r := range all {
		if r.About == about && r.Verdict == want && contains(r.Found+r.Do, words...) {
			return
		}
	}
	m.Errorf("want %s: %s with %q, have\n%s", about, want, words, c.text)
}

// exits fails the test unless netcheck ended with a code.
func (c checkedPaths) exits(m *lab.Mesh, want int) {
	m.Helper()
	if c.code != want {
		m.Errorf("want the exit code %d, have %d:\n%s", want, c.code, c.text)
	}
}

// cygnet netcheck on a good way, behind NAT, on a way that takes less than the tunnel's packets and
// tells nobody, with a name that does not resolve, with IKE's ports closed on the way with an SA
// and without one, with the hub's charon stopped, and without the daemon. What it measures is what
// the kernel's own packets find, and it changes nothing.
func TestNetcheck(t *testing.T) {
	m := lab.NewMesh(t, lab.SpokeBehindNAT("spoke1"))
	m.Spoke1.Interface = append(m.Spoke1.Interface, `outer_df = "always"`)
	m.Spoke2.WriteFile("/etc/hosts", 0o644, hubHosts)
	useNHS(m.Spoke2, `nhs = [{ nbma = "hub.example.net" }]`)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)

	goodWay(m)
	behindNAT(m)
	smallWay(m)
	nameless(m)
	closePorts(m)
	stopped(m)
	encrypted(m)
}

// goodWay checks spoke2, where all is good but perhaps the guest's clock.
func goodWay(m *lab.Mesh) {
	m.Helper()
	before := m.Spoke2.Charon.With(m.Hub.Public)
	c := netcheckOn(m, m.Spoke2)
	c.says(m, netcheck.AboutDaemon, netcheck.Good)
	c.says(m, netcheck.AboutCharon, netcheck.Good)
	c.says(m, netcheck.AboutUnderlay, netcheck.Good, "over eth0 from 192.0.2.12")
	c.says(m, netcheck.AboutName, netcheck.Good, "192.0.2.1")
	c.says(m, netcheck.AboutRoute, netcheck.Good, "over eth0 from 192.0.2.12", "192.0.2.0/24")
	c.says(m, netcheck.AboutIKE, netcheck.Good, "port 500 answers", "port 4500 answers")
	c.says(m, netcheck.AboutNAT, netcheck.Good, "none")
	c.says(m, netcheck.AboutESP, netcheck.Good, "plain ESP")
	c.says(m, netcheck.AboutMTU, netcheck.Good, "1400 bytes pass")
	c.says(m, netcheck.AboutRegistration, netcheck.Good)
	want := map[netcheck.Verdict]int{netcheck.Good: 0, netcheck.Look: 6}
	clock := netcheck.Good
	if !c.Clock.Synchronized {
		clock = netcheck.Look
	}
	if c.Verdict != clock || c.code != want[clock] {
		m.Errorf("want %s, have %s and the exit code %d", clock, c.Verdict, c.code)
	}
	if e := c.server(m).ESP; e.NewIn < 1400 || e.NewOut < 1400 || e.KernelIn == 0 || e.KernelUDP {
		m.Errorf("want plain ESP that carried the probes both ways, have %+v", e)
	}
	if after := m.Spoke2.Charon.With(m.Hub.Public); len(after) != len(before) ||
		after[0].ID != before[0].ID {
		m.Errorf("netcheck changed the SAs from %+v to %+v", before, after)
	}
	if out, err := m.Spoke2.TryCygnet("netcheck", "gre1", "192.0.2.77"); err == nil ||
		!contains(out, `there is no interface and no NHS "192.0.2.77"`) {
		m.Errorf("netcheck of an unknown NHS: %v\n%s", err, out)
	}
}

// behindNAT checks spoke1.
func behindNAT(m *lab.Mesh) {
	m.Helper()
	c := netcheckOn(m, m.Spoke1, "gre1")
	c.says(m, netcheck.AboutNAT, netcheck.Good, "from 10.1.0.2", "the NHS sees 192.0.2.11")
	c.says(m, netcheck.AboutIKE, netcheck.Good)
	c.says(m, netcheck.AboutESP, netcheck.Good, "ESP in UDP")
	c.says(m, netcheck.AboutMTU, netcheck.Good, "1400 bytes pass")
	if s := c.server(m); !s.ESP.KernelUDP || !s.NAT.Local || s.Resolved != nil {
		m.Errorf("want ESP in UDP in the kernel, NAT found by IKE and no look-up, have %+v %+v",
			s.ESP, s.NAT)
	}
}

// smallWay has the NAT of spoke1 take 1300 bytes, and no ICMP come back.
func smallWay(m *lab.Mesh) {
	m.Helper()
	box := m.Spoke1.NAT
	route := "route change 192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.11"
	box.IP(route + " mtu lock 1300")
	box.Iptables("-A", "OUTPUT", "-p", "icmp", "--icmp-type", "fragmentation-needed", "-j", "DROP")
	c := netcheckOn(m, m.Spoke1, "192.0.2.1")
	passed := c.server(m).Size.Passed
	c.says(m, netcheck.AboutMTU, netcheck.Wrong, fmt.Sprintf("set mtu = %d", passed))
	c.exits(m, 5)
	passes := func(size int) bool {
		out, _ := m.Spoke1.Host.Try("ping", "-n", "-c", "3", "-i", "0.2", "-W", "3", "-M", "do",
			"-s", fmt.Sprint(size-28), m.Hub.Host.Addr.String())
		return !strings.Contains(out, " 0 received")
	}
	if !passes(passed) || passes(passed+1) {
		m.Errorf("netcheck measured %d bytes, and of the kernel's packets %d pass %v, %d %v",
			passed, passed, passes(passed), passed+1, passes(passed+1))
	}
	box.IP(route)
	box.Iptables("-F", "OUTPUT")
}

// nameless takes the hub's name away from spoke2. The daemon goes on with the address that it has.
func nameless(m *lab.Mesh) {
	m.Helper()
	m.Spoke2.WriteFile("/etc/hosts", 0o644, "127.0.0.1 localhost\n")
	c := netcheckOn(m, m.Spoke2, "hub.example.net")
	c.says(m, netcheck.AboutName, netcheck.Look, "no address", "goes on with 192.0.2.1")
	c.says(m, netcheck.AboutMTU, netcheck.Good)
	c.exits(m, 6)
}

// closePorts has the hub's side drop IKE of spoke2. The SA is there and carries.
func closePorts(m *lab.Mesh) {
	m.Helper()
	m.Hub.Iptables("-I", "INPUT", "-s", m.Spoke2.Public.String(), "-p", "udp", "-m", "multiport",
		"--dports", "500,4500", "-j", "DROP")
	c := netcheckOn(m, m.Spoke2)
	c.says(m, netcheck.AboutIKE, netcheck.Look, "port 500 is SILENT", "port 4500 is SILENT",
		"there is an SA")
	c.says(m, netcheck.AboutESP, netcheck.Good)
}

// stopped ends the SA of spoke2 while the ports are closed, opens them with the hub's charon
// stopped, and then stops the daemon of spoke2, whose configuration has a name that does not
// resolve.
func stopped(m *lab.Mesh) {
	m.Helper()
	m.Hub.Charon.Terminate()
	m.Await("spoke2 has no SA with the hub", later, func() error {
		sas := usable(m.Spoke2, m.Hub)
		return lab.True(len(sas) == 0, "it has %+v", sas)
	})
	c := netcheckOn(m, m.Spoke2)
	c.says(m, netcheck.AboutIKE, netcheck.Wrong, "port 500 is SILENT", "nothing comes back")
	c.says(m, netcheck.AboutESP, netcheck.Wrong, "no SA")
	c.exits(m, 5)

	m.Hub.Iptables("-F", "INPUT")
	c = netcheckOn(m, m.Spoke2)
	c.says(m, netcheck.AboutIKE, netcheck.Wrong, "port 500: REFUSED", "port 4500: REFUSED",
		"start strongSwan on the NHS")
	c.exits(m, 5)

	m.Spoke2.Daemon.Terminate()
	c = netcheckOn(m, m.Spoke2)
	c.says(m, netcheck.AboutDaemon, netcheck.Wrong)
	c.says(m, netcheck.AboutName, netcheck.Wrong, "no address")
	c.exits(m, 5)

	m.Spoke2.WriteFile("/etc/hosts", 0o644, hubHosts)
	c = netcheckOn(m, m.Spoke2)
	c.says(m, netcheck.AboutCharon, netcheck.Good)
	c.says(m, netcheck.AboutName, netcheck.Good, "192.0.2.1")
	c.says(m, netcheck.AboutRoute, netcheck.Good, "over eth0 from 192.0.2.12")
	c.says(m, netcheck.AboutIKE, netcheck.Wrong, "port 500: REFUSED")
	c.says(m, netcheck.AboutMTU, netcheck.Unknown, "only cygnetd can send")
}
