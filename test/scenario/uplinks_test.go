//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

const uplinksRecipe = "../../doc/recipes/several-uplinks.md"

// A spoke has a line, eth0, and a mobile network behind a NAT of its provider, wwan0. When nothing
// passes over the line any more, although it is up, the spoke registers by way of the mobile
// network, and so do its direct paths. It comes back to the line after the hold-down. When the line
// loses its address, the spoke changes at once. Each change happens once.
func TestUplinkInReserve(t *testing.T) {
	m := lab.NewMesh(t)
	m.AddIPsec(`dpd_delay = "3s"`)
	mobile := m.NAT("mobile", "192.0.2.200/24", "10.64.0.1/24")
	spoke, line := m.Spoke1, m.Spoke1.Public
	mobile.Connect(spoke.Node, "wwan0")
	spoke.IP("addr add 10.64.0.11/24 dev wwan0", "link set wwan0 up")
	lineRoute := "ip route replace default via 203.0.113.1 dev eth0 table 100"
	first, second, _ := strings.Cut(lab.Snippet(t, uplinksRecipe, lineRoute), "\n")
	setLine := replace(first, "via 203.0.113.1 ", "") // the line has no gateway here
	spoke.Run("sh", "-c", setLine+"\n"+second)
	spoke.Interface = slices.DeleteFunc(spoke.Interface, func(line string) bool {
		return line == `underlay = "eth0"`
	})
	spoke.Interface = append(spoke.Interface, lab.Snippet(t, uplinksRecipe,
		"# in [interface.gre1] of /etc/cygnet/cygnet.toml"), `underlay_return = "5s"`)
	m.Start()
	registered(m, spoke, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	sendsFrom(m, "eth0", soon)
	esp := lab.OfKind(lab.ESP, lab.ESPinUDP)
	if n := m.Net.Underlay.Count(lab.From(mobile.Public), esp); n > 0 {
		t.Errorf("%d ESP packets took the uplink in reserve", n)
	}
	toHub := spoke.Host.Flow(m.Hub.Host.Addr, beat)
	direct := spoke.Host.Flow(m.Spoke2.Host.Addr, beat)
	toHub.Back(time.Now(), soon)
	direct.Back(time.Now(), soon)

	change := func(what, device string, to func()) {
		t.Helper()
		begin := time.Now()
		to()
		sendsFrom(m, device, later)
		registered(m, spoke, soon)
		changed := time.Now()
		hub, other := toHub.Back(changed, soon), direct.Back(changed, soon)
		_, lostHub, longHub := toHub.Loss(begin)
		_, lostDirect, longDirect := direct.Loss(begin)
		t.Logf("%s: on %s after %s; to the hub %d packets lost, for at most %s; to the other spoke %d, %s; all back after %s",
			what, device, changed.Sub(begin).Round(time.Millisecond), lostHub, longHub, lostDirect,
			longDirect, maxTime(hub, other).Sub(begin).Round(time.Millisecond))
		shortcut(m)
	}
	viaMobile := func() { spoke.Public = mobile.Public }
	viaLine := func() { spoke.Public = line }
	change("nothing passes over the line", "wwan0", func() { viaMobile(); spoke.Lose(100) })
	inReserve(m, true)
	change("the line carries again", "eth0", func() { viaLine(); spoke.Lose(0) })
	inReserve(m, false)
	address := line.String() + "/24"
	change("the line loses its address", "wwan0", func() {
		viaMobile()
		spoke.IP("addr del " + address + " dev eth0")
	})
	change("the line has an address again", "eth0", func() {
		viaLine()
		spoke.IP("addr add " + address + " dev eth0")
		spoke.Run("sh", "-c", setLine)
	})
	if n := strings.Count(spoke.Daemon.Output(), "the tunnel sends from"); n != 5 {
		t.Errorf("want the tunnel to send from another device 5 times, the first one included, have %d", n)
	}
	spoke.Cygnet("leave")
	if rules := spoke.Run("ip", "rule"); strings.Contains(rules, "lookup 10") {
		t.Errorf("a rule is left:\n%s", rules)
	}
	alive(m)
	encrypted(m)
}

// The same where the underlay is IPv6 only: the hub is probed over IPv6, and each device has a rule
// and a table for its IPv6 address.
func TestUplinkInReserveIPv6(t *testing.T) {
	m := lab.NewMesh(t)
	onlyIPv6(m)
	m.AddIPsec(`dpd_delay = "3s"`)
	spoke, line, mobile := m.Spoke1, m.Spoke1.Public, addr("2001:db8::200")
	spoke.SecondLine("wwan0")
	spoke.IP("link set wwan0 up", fmt.Sprintf("addr add %s/128 dev wwan0 nodad", mobile),
		"route add ::/0 dev eth0 table 100", "route add ::/0 dev wwan0 table 101")
	spoke.Interface = slices.DeleteFunc(spoke.Interface, func(line string) bool {
		return line == `underlay = "eth0"`
	})
	spoke.Interface = append(spoke.Interface, lab.Snippet(t, uplinksRecipe,
		"# in [interface.gre1] of /etc/cygnet/cygnet.toml"), `underlay_return = "5s"`)
	m.Start()
	registered(m, spoke, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	sendsFrom(m, "eth0", soon)
	rules := spoke.Run("ip", "-6", "rule")
	for _, want := range []string{
		fmt.Sprintf("from %s lookup 100", line), fmt.Sprintf("from %s lookup 101", mobile),
	} {
		if !strings.Contains(rules, want) {
			t.Errorf("there is no rule %q:\n%s", want, rules)
		}
	}
	for _, c := range []struct {
		device string
		public netip.Addr
		lost   int
	}{{"wwan0", mobile, 100}, {"eth0", line, 0}} {
		begin := time.Now()
		spoke.Lose(c.lost)
		spoke.Public = c.public
		sendsFrom(m, c.device, later)
		registered(m, spoke, later)
		t.Logf("on %s and registered after %s", c.device,
			time.Since(begin).Round(time.Millisecond))
		shortcut(m)
	}
	spoke.Cygnet("leave")
	if rules := spoke.Run("ip", "-6", "rule"); strings.Contains(rules, "lookup 10") {
		t.Errorf("a rule is left:\n%s", rules)
	}
	alive(m)
	encrypted(m)
}

// sendsFrom awaits that the status of spoke1 says that the tunnel sends from a device.
func sendsFrom(m *lab.Mesh, device string, within time.Duration) {
	m.Helper()
	m.Await("spoke1 sends from "+device, within, func() error {
		st, err := status(m.Spoke1)
		if err != nil {
			return err
		}
		for _, u := range st.Interfaces[0].Uplinks.Devices {
			if u.InUse && u.Device == device {
				return nil
			}
		}
		return fmt.Errorf("the uplinks are %+v", *st.Interfaces[0].Uplinks)
	})
}

// inReserve fails the test unless the status of spoke1 has the problem that it uses an uplink in
// reserve, or with want false, does not have it.
func inReserve(m *lab.Mesh, want bool) {
	m.Helper()
	st, err := status(m.Spoke1)
	if err != nil {
		m.Fatalf("%v", err)
	}
	have := false
	for _, p := range st.Problems {
		have = have || p.Code == api.ProblemUplinkReserve
	}
	if have != want {
		m.Errorf("uplink-in-reserve: want %v, have the problems %+v", want, st.Problems)
	}
}

// maxTime returns the later of two times.
func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
