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

// How soon the tunnel leaves a device, as several-uplinks.md says.
const (
	// One that is up and carries nothing: with "warm" from the loss on, with "idle" from when dead
	// peer detection has found the hub dead.
	uplinkFound = 10 * time.Second
	uplinkLeft  = time.Second // one that has no address: at once
)

// twoUplinks is a mesh whose first spoke has a line, eth0, and a mobile network behind a NAT of its
// provider, wwan0, with the settings of the recipe.
type twoUplinks struct {
	*lab.Mesh
	mobile  *lab.NAT
	inside  netip.Addr // the spoke's address behind that NAT
	line    netip.Addr // the spoke's address on the line
	setLine string     // the command that makes the line's default route
}

// newTwoUplinks makes the mesh. Nothing runs on it yet.
func newTwoUplinks(t *testing.T, reserve string) *twoUplinks {
	t.Helper()
	m := &twoUplinks{Mesh: lab.NewMesh(t), inside: addr("10.64.0.11")}
	m.mobile = m.NAT("mobile", "192.0.2.200/24", "10.64.0.1/24")
	spoke := m.Spoke1
	m.line = spoke.Public
	m.mobile.Connect(spoke.Node, "wwan0")
	spoke.IP("addr add "+m.inside.String()+"/24 dev wwan0", "link set wwan0 up")
	lineRoute := "ip route replace default via 203.0.113.1 dev eth0 table 100"
	first, second, _ := strings.Cut(lab.Snippet(t, uplinksRecipe, lineRoute), "\n")
	m.setLine = replace(first, "via 203.0.113.1 ", "") // the line has no gateway here
	spoke.Run("sh", "-c", m.setLine+"\n"+second)
	useUplinks(m.Mesh, reserve)
	return m
}

// useUplinks gives spoke1 the recipe's settings, with a value of underlay_reserve.
func useUplinks(m *lab.Mesh, reserve string) {
	m.Helper()
	spoke := m.Spoke1
	spoke.Interface = slices.DeleteFunc(spoke.Interface, func(line string) bool {
		return line == `underlay = "eth0"`
	})
	settings := lab.Snippet(m, uplinksRecipe,
		"# in [interface.gre1] of /etc/cygnet/cygnet.toml")
	spoke.Interface = append(spoke.Interface,
		replace(settings, `"warm"`, fmt.Sprintf("%q", reserve)), `underlay_return = "5s"`)
}

// A spoke has a line, eth0, and a mobile network behind a NAT of its provider, wwan0. When nothing
// passes over the line any more, although it is up, the spoke registers by way of the mobile
// network, and so do its direct paths. It comes back to the line after the hold-down. When the line
// loses its address, the spoke changes at once. Each change happens once.
func TestUplinkInReserve(t *testing.T) {
	m := newTwoUplinks(t, "warm")
	m.AddIPsec(`dpd_delay = "3s"`)
	mobile, spoke, still := m.mobile, m.Spoke1, lab.NoteStandstills(t)
	m.Start()
	registered(m.Mesh, spoke, soon)
	registered(m.Mesh, m.Spoke2, soon)
	shortcut(m.Mesh)
	sendsFrom(m.Mesh, "eth0", soon)
	m.Await("the hub answers a probe over the reserve", soon, func() error {
		return lab.True(m.Net.Underlay.Count(lab.To(mobile.Public), lab.OfKind(lab.IKE)) > 0,
			"no answer came")
	})
	esp := lab.OfKind(lab.ESP, lab.ESPinUDP)
	if n := m.Net.Underlay.Count(lab.From(mobile.Public), esp); n > 0 {
		t.Errorf("%d ESP packets took the uplink in reserve", n)
	}
	toHub := spoke.Host.Flow(m.Hub.Host.Addr, beat)
	direct := spoke.Host.Flow(m.Spoke2.Host.Addr, beat)
	toHub.Back(time.Now(), soon)
	direct.Back(time.Now(), soon)

	change := func(what, device string, limit time.Duration, to func()) {
		t.Helper()
		begin := time.Now()
		to()
		took := still.Between(begin, sendsFrom(m.Mesh, device, later))
		if took > limit {
			t.Errorf("%s: on %s after %s, want at most %s", what, device, took, limit)
		}
		registered(m.Mesh, spoke, soon)
		changed := time.Now()
		hub, other := toHub.Back(changed, soon), direct.Back(changed, soon)
		_, lostHub, longHub := toHub.Loss(begin)
		_, lostDirect, longDirect := direct.Loss(begin)
		t.Logf("%s: on %s after %s; to the hub %d packets lost, for at most %s; to the other spoke %d, %s; all back after %s",
			what, device, took.Round(time.Millisecond), lostHub, longHub, lostDirect,
			longDirect, maxTime(hub, other).Sub(begin).Round(time.Millisecond))
		shortcut(m.Mesh)
	}
	viaMobile := func() { spoke.Public = mobile.Public }
	viaLine := func() { spoke.Public = m.line }
	change("nothing passes over the line", "wwan0", uplinkFound, func() {
		viaMobile()
		spoke.Lose(100)
	})
	inReserve(m.Mesh, true)
	change("the line carries again", "eth0", later, func() { viaLine(); spoke.Lose(0) })
	inReserve(m.Mesh, false)
	address := m.line.String() + "/24"
	change("the line loses its address", "wwan0", uplinkLeft, func() {
		viaMobile()
		spoke.IP("addr del " + address + " dev eth0")
	})
	change("the line has an address again", "eth0", later, func() {
		viaLine()
		spoke.IP("addr add " + address + " dev eth0")
		spoke.Run("sh", "-c", m.setLine)
	})
	if n := strings.Count(spoke.Daemon.Output(), "the tunnel sends from"); n != 5 {
		t.Errorf("want the tunnel to send from another device 5 times, the first one included, have %d", n)
	}
	spoke.Cygnet("leave")
	if rules := spoke.Run("ip", "rule"); strings.Contains(rules, "lookup 10") {
		t.Errorf("a rule is left:\n%s", rules)
	}
	alive(m.Mesh)
	encrypted(m.Mesh)
}

// The reserve is a metered line: with underlay_reserve = "idle" nothing crosses it in either
// direction until dead peer detection has found the hub dead. The tunnel then changes to it once.
// It changes back once, after the hold-down, and nothing crosses the reserve any more when the SA
// over it is closed.
func TestMeteredUplinkInReserve(t *testing.T) {
	m := newTwoUplinks(t, "idle")
	m.AddIPsec(`dpd_delay = "1s"`)
	spoke, still, metered := m.Spoke1, lab.NoteStandstills(t), m.Spoke1.Capture("wwan0")
	crossed := func(filters ...lab.Filter) []lab.Packet {
		t.Helper()
		return metered.Packets(append(filters, func(p lab.Packet) bool {
			return p.Src == m.inside || p.Dst == m.inside
		})...)
	}
	m.Start()
	registered(m.Mesh, spoke, soon)
	sendsFrom(m.Mesh, "eth0", soon)
	toHub := spoke.Host.Flow(m.Hub.Host.Addr, beat)
	toHub.Back(time.Now(), soon)

	spoke.Public = m.mobile.Public
	spoke.Lose(100)
	changed := sendsFrom(m.Mesh, "wwan0", later)
	registered(m.Mesh, spoke, soon)
	toHub.Back(time.Now(), soon)
	dead := loggedAt(m.Mesh, spoke, "the NHS is lost", "the peer stopped answering")
	if first := crossed()[0]; first.At.Before(dead) {
		t.Errorf("before the hub was known dead, this crossed the metered line: %s", first)
	}
	if took := still.Between(dead, changed); took > uplinkFound {
		t.Errorf("on wwan0 %s after the hub was known dead, want at most %s", took, uplinkFound)
	}

	spoke.Public = m.line
	repaired := time.Now()
	spoke.Lose(0)
	if held := sendsFrom(m.Mesh, "eth0", later).Sub(repaired); held < 5*time.Second {
		t.Errorf("back on the line after %s, want 5 s at least", held)
	}
	registered(m.Mesh, spoke, soon)
	m.Await("the SA over the metered line is closed", soon, func() error {
		sas := spoke.Run("swanctl", "--list-sas")
		return lab.True(!contains(sas, m.inside.String()), "%s", sas)
	})
	closed := time.Now()
	// Probes of "warm" would come meanwhile: one every five seconds.
	m.Await("traffic for six seconds", soon, func() error {
		sent, _, _ := toHub.Loss(closed)
		return lab.True(time.Duration(sent)*beat > 6*time.Second, "%d packets", sent)
	})
	if late := crossed(lab.Since(closed)); len(late) > 0 {
		t.Errorf("after the SA was closed, %d packets crossed the metered line, the first one: %s",
			len(late), late[0])
	}
	if n := strings.Count(spoke.Daemon.Output(), "the tunnel sends from"); n != 3 {
		t.Errorf("want the tunnel to send from another device 3 times, the first one included, have %d", n)
	}
	alive(m.Mesh)
	encrypted(m.Mesh)
}

// A line and a reserve where the underlay is IPv6 only: the hub is probed over IPv6, and each
// device has a rule and a table for its IPv6 address.
func TestUplinkInReserveIPv6(t *testing.T) {
	m := lab.NewMesh(t)
	onlyIPv6(m)
	m.AddIPsec(`dpd_delay = "3s"`)
	spoke, line, mobile := m.Spoke1, m.Spoke1.Public, addr("2001:db8::200")
	spoke.SecondLine("wwan0")
	spoke.IP("link set wwan0 up", fmt.Sprintf("addr add %s/128 dev wwan0 nodad", mobile),
		"route add ::/0 dev eth0 table 100", "route add ::/0 dev wwan0 table 101")
	useUplinks(m, "warm")
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

// sendsFrom awaits that the status of spoke1 says that the tunnel sends from a device, and returns
// since when.
func sendsFrom(m *lab.Mesh, device string, within time.Duration) (since time.Time) {
	m.Helper()
	m.Await("spoke1 sends from "+device, within, func() error {
		st, err := status(m.Spoke1)
		if err != nil {
			return err
		}
		since = st.Interfaces[0].Uplinks.Since
		for _, u := range st.Interfaces[0].Uplinks.Devices {
			if u.InUse && u.Device == device {
				return nil
			}
		}
		return fmt.Errorf("the uplinks are %+v", *st.Interfaces[0].Uplinks)
	})
	return since
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
