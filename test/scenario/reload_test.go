//go:build lab

package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// reloadMesh is a mesh in two overlays, with an address of each router for each, and a further hub
// in the first overlay. Routers change the first overlay by reloads while hosts talk in both.
type reloadMesh struct {
	*lab.Mesh
	hub2 *lab.Site

	own, other []*lab.Flow // in the overlay that changes, and in the other one

	stopped map[*lab.Flow]time.Time // the flows that stand still, and since when
}

// newReloadMesh starts the mesh, with direct paths between the spokes in both overlays, and flows
// from spoke1's host to those of the hub and of spoke2.
func newReloadMesh(t *testing.T) *reloadMesh {
	t.Helper()
	m := &reloadMesh{Mesh: newTwoOverlays(t), stopped: map[*lab.Flow]time.Time{}}
	for _, s := range m.Sites() {
		own := s.Public.As4()
		own[3] += 100
		address := netip.AddrFrom4(own).String()
		s.IP("addr add " + address + "/24 dev eth0")
		for i := range s.Further {
			s.Further[i] = replace(s.Further[i], `"eth0"`, strconv.Quote(address),
				`"192.0.2.1"`, `"192.0.2.101"`, "gre1.psk", "gre2.psk")
		}
		s.WriteFile("/etc/cygnet/gre2.psk", 0o600, "the key of the second overlay\n")
		s.Interface = withLine(s.Interface, fmt.Sprintf("underlay = %q", s.Public))
	}
	m.Hub.Interface = append(m.Hub.Interface, `accept = ["172.16.0.0/12"]`)
	m.hub2 = m.FurtherHub(2)
	m.hub2.Interface = withLine(m.hub2.Interface, `underlay = "eth0"`)
	m.Start()
	m.hub2.Start()
	for _, s := range m.Sites() {
		routeSecond(m.Mesh, s)
	}
	for _, s := range []*lab.Site{m.Hub, m.Spoke2} {
		m.own = append(m.own, m.Spoke1.Host.Flow(s.Host.Addr, beatOfReload))
		f := m.Spoke1.Host.Flow(secondOf(s).host, beatOfReload)
		f.AnsweredBy(s.Host.Node)
		m.other = append(m.other, f)
	}
	for _, ends := range [][2]*lab.Site{{m.Spoke1, m.Spoke2}, {m.Spoke2, m.Spoke1}} {
		m.Await("direct paths from "+ends[0].Name, later, func() error {
			two := secondOf(ends[1])
			hop := ends[0].NextHop(two.host)
			if hop != two.overlay {
				return fmt.Errorf("what is for %s goes via %s", two.host, hop)
			}
			return up(ends[0], ends[1])
		})
	}
	return m
}

// beatOfReload is the time between two requests of a flow.
const beatOfReload = 20 * time.Millisecond

// effect is what a reload does to one flow.
type effect int

const (
	keeps effect = iota // no packet is lost
	loses               // packets are lost for a moment
	stops               // traffic stops until a later reload has it go on
)

// reload is a change of one router's file that a reload applies.
type reload struct {
	at     *lab.Site
	name   string
	change func(s *lab.Site)
	// says has what the reload says that it does: of gre1, and of interfaces that it changes, too.
	says string
	// interrupts is whether the reload says that it interrupts traffic of gre1.
	interrupts bool
	// toHub and toSpoke are the effects on the flows to the hub and, directly, to the other spoke.
	toHub, toSpoke effect
	settled        func() error // returns nil when the change has had its effect; nil: at once
}

// line returns a change that puts a line into the table [interface.gre1], in the place of the one
// with the same key.
func line(text string) func(s *lab.Site) {
	return func(s *lab.Site) { s.Interface = withLine(s.Interface, text) }
}

// ipsecLine is line for the table [interface.gre1.ipsec].
func ipsecLine(text string) func(s *lab.Site) {
	return func(s *lab.Site) { s.IPsec = withLine(s.IPsec, text) }
}

func withLine(lines []string, text string) []string {
	key, _, _ := strings.Cut(text, " = ")
	lines = slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
		return strings.HasPrefix(l, key+" = ")
	})
	return append(lines, text)
}

// servers returns a change of a spoke's NHSs to those at 192.0.2.NUMBER.
func servers(numbers ...int) func(s *lab.Site) {
	var list []string
	for _, n := range numbers {
		list = append(list, fmt.Sprintf(`{ nbma = "192.0.2.%d" }`, n))
	}
	return line("nhs = [" + strings.Join(list, ", ") + "]")
}

// do carries out a reload under traffic. It holds what the reload says against what is lost.
func (m *reloadMesh) do(r reload) {
	m.Helper()
	name := r.at.Name + ": " + r.name
	r.change(r.at)
	r.at.WriteFile("/etc/cygnet/gre1.psk", 0o600, r.at.PSK+"\n")
	r.at.WriteFile(lab.CygnetConfig, 0o640, r.at.Config())
	says, interrupts := m.tell(r.at, true)
	if says != r.says || (interrupts != "") != r.interrupts {
		m.Errorf("%s: the dry run says %q and %q, want %q and an interruption: %v", name, says,
			interrupts, r.says, r.interrupts)
	}
	begin := time.Now()
	if did, _ := m.tell(r.at, false); did != says {
		m.Errorf("%s: the reload says %q, the dry run %q", name, did, says)
	}
	if r.settled != nil {
		m.Await(name+" has its effect", later, r.settled)
	}
	until := time.Now().Add(25 * beatOfReload)
	m.measure(m.own[0], name, begin, until, r.toHub)
	m.measure(m.own[1], name, begin, until, r.toSpoke)
	for _, f := range m.other {
		m.measure(f, name, begin, until, keeps)
	}
}

// tell has a router reload its file, or only tell what that would do. It returns what the daemon
// says, as the fields of reload have it.
func (m *reloadMesh) tell(s *lab.Site, dryRun bool) (says, interrupts string) {
	m.Helper()
	r, err := api.Dial(s.Path(lab.CygnetSocket)).Reload(context.Background(), dryRun)
	if err != nil {
		m.Fatalf("reload %s: %v", s.Name, err)
	}
	var list []string
	for _, i := range r.Interfaces {
		words := []string{i.Name, string(i.Action)}
		for _, c := range i.Changes {
			words = append(words, c.Key)
			interrupts += c.Interrupts
		}
		if i.Name == "gre1" || i.Action != api.ReloadKept {
			list = append(list, strings.Join(words, " "))
		}
		if i.Error != "" {
			m.Errorf("reload %s: %s does not work: %s", s.Name, i.Name, i.Error)
		}
	}
	return strings.Join(list, ", "), interrupts
}

// measure waits until a request that the flow sends after a time is answered. It fails the test if
// a packet was lost since begin, unless the reload may have that effect.
func (m *reloadMesh) measure(f *lab.Flow, name string, begin, until time.Time, e effect) {
	m.Helper()
	if e == stops {
		if m.stopped[f].IsZero() {
			m.stopped[f] = begin
		}
		return
	}
	if at := m.stopped[f]; !at.IsZero() {
		begin = at
		delete(m.stopped, f)
	}
	f.Back(until, later)
	switch sent, lost, longest := f.Loss(begin); {
	case e == keeps && (lost > 0 || sent == 0):
		m.Errorf("%s: %s lost %d of %d packets, %v at a time", name, f.Name, lost, sent, longest)
	case e == loses:
		m.Logf("%s: %s lost %d packets, %v at a time", name, f.Name, lost,
			longest.Round(time.Millisecond))
	}
}

// spoke1At returns a function that returns nil when a hub has spoke1 as a client.
func (m *reloadMesh) spoke1At(hub *lab.Site) func() error {
	return func() error {
		at := hub.Neighbors("gre1")[m.Spoke1.Overlay]
		return lab.True(at == m.Spoke1.Public, "%s has spoke1 at %s", hub.Name, at)
	}
}

// direct returns nil when both spokes send directly to each other.
func (m *reloadMesh) direct() error {
	if err := up(m.Spoke1, m.Spoke2); err != nil {
		return err
	}
	return up(m.Spoke2, m.Spoke1)
}

// anew returns a function that returns nil when spoke1 has other SAs with a router than now, agrees
// with that router about them, and sends directly to spoke2.
func (m *reloadMesh) anew(with *lab.Site) func() error {
	names := func() (list []string) {
		for _, sa := range usable(m.Spoke1, with) {
			list = append(list, sa.IKE)
		}
		return list
	}
	before := names()
	return func() error {
		for _, name := range names() {
			if slices.Contains(before, name) {
				return fmt.Errorf("spoke1 still has the SA %s", name)
			}
		}
		if err := agreed(m.Spoke1, with); err != nil {
			return err
		}
		return m.direct()
	}
}

// thirdOverlay has the lines of a further interface, gre3, beside gre2.
func thirdOverlay(s *lab.Site) string {
	return replace(strings.Join(s.Further, "\n"), "gre2]", "gre3]", "gre2.limits", "gre3.limits",
		"gre2.ipsec", "gre3.ipsec", "10.254.", "10.253.", "= 43", "= 45")
}

// Each kind of change that a reload makes, one after the other, while hosts talk directly and by
// the hub. The other overlay of the same routers loses nothing. The one that changes loses nothing
// where the dry run says so, and otherwise as little as it says.
func TestReloadUnderTraffic(t *testing.T) {
	m := newReloadMesh(t)
	for _, r := range m.reloads() {
		m.do(r)
	}
	for _, r := range m.ipsecReloads() {
		m.do(r)
	}
	for _, r := range m.proposalReloads() {
		m.do(r)
	}
	for _, r := range m.keyReloads() {
		m.do(r)
	}
	alive(m.Mesh)
	encrypted(m.Mesh)
}

// reloads are the changes of what is not IPsec's.
func (m *reloadMesh) reloads() []reload {
	hub, spoke := m.Hub, m.Spoke1
	two := thirdOverlay(spoke)
	return []reload{
		{spoke, "holding time", line(`holding_time = "5m"`), "gre1 restarted holding_time", false,
			keeps, keeps, nil},
		{hub, "holding time", line(`holding_time = "5m"`), "gre1 restarted holding_time", false,
			keeps, keeps, nil},
		{spoke, "mtu", line("mtu = 1380"), "gre1 restarted mtu", false, keeps, keeps, nil},
		{hub, "mtu", line("mtu = 1380"), "gre1 restarted mtu", false, keeps, keeps, nil},
		{hub, "a rule", func(s *lab.Site) { s.Rules = []string{lab.Rule("*", "10.255.0.0/24")} },
			"gre1 changed peer", true, keeps, keeps, nil},
		{spoke, "a further NHS", servers(1, 2), "gre1 restarted nhs", false, keeps, keeps,
			m.spoke1At(m.hub2)},
		{spoke, "without it", servers(1), "gre1 restarted nhs", true, keeps, keeps, nil},
		{spoke, "another NHS", servers(2), "gre1 restarted nhs", true, stops, keeps,
			m.spoke1At(m.hub2)},
		{spoke, "the first one", servers(1), "gre1 restarted nhs", true, loses, keeps,
			m.spoke1At(hub)},
		{spoke, "an announced prefix", line(`announce = ["172.18.1.0/24"]`),
			"gre1 restarted announce", false, keeps, keeps, nil},
		{hub, "multicast to clients", line(`multicast = ["clients"]`),
			"gre1 restarted multicast (nhs)", false, keeps, keeps, nil},
		{hub, "no multicast", line("multicast = []"), "gre1 restarted multicast (clients)", false,
			keeps, keeps, nil},
		{spoke, "metric", line("metric = 5"), "gre1 restarted metric", false, keeps, keeps, nil},
		{spoke, "no shortcuts", line("shortcut = false"), "gre1 restarted shortcut", false, keeps,
			keeps, nil},
		{spoke, "shortcuts", line("shortcut = true"), "gre1 restarted shortcut", false, keeps,
			keeps, m.direct},
		{spoke, "a table for host routes", line("host_table = 85"), "gre1 restarted host_table",
			true, loses, loses, m.direct},
		{hub, "a table for host routes", line("host_table = 85"), "gre1 restarted host_table",
			true, loses, loses, m.direct},
		{spoke, "a further interface", func(s *lab.Site) { s.Further = append(s.Further, two) },
			"gre1 unchanged, gre3 added", false, keeps, keeps, nil},
		{spoke, "without it", func(s *lab.Site) { s.Further = s.Further[:len(s.Further)-1] },
			"gre1 unchanged, gre3 removed", false, keeps, keeps, nil},
	}
}

// ipsecReloads are the changes of IPsec's settings that all SAs survive.
func (m *reloadMesh) ipsecReloads() []reload {
	secret := func(s *lab.Site) { s.PSK = "another long key" }
	further := ipsecLine(
		`proposals = ["aes256-sha384-ecp384", "aes256gcm16-prfsha384-x25519-ecp384"]`)
	var list []reload
	for _, s := range m.Sites() {
		list = append(list,
			reload{s, "secret", secret, "gre1 restarted the key in ipsec.psk_file", false, keeps,
				keeps, nil},
			reload{s, "a further proposal", further, "gre1 restarted ipsec.proposals", true, keeps,
				keeps, nil})
	}
	return append(list, reload{m.Spoke1, "dpd_delay", ipsecLine(`dpd_delay = "5s"`),
		"gre1 restarted ipsec.dpd_delay", false, keeps, keeps, nil})
}

// proposalReloads take away the proposal by which the SAs were made, at the hub and then at spoke1.
// The hub has an SA with spoke1, which spoke1 dialled; by the time of the second change that is a
// new one, so that only the SA with spoke2 is replaced.
func (m *reloadMesh) proposalReloads() []reload {
	other := ipsecLine(`proposals = ["aes256-sha384-ecp384"]`)
	const name, says = "proposals without that of the SAs", "gre1 restarted ipsec.proposals"
	return []reload{
		{m.Hub, name, other, says, true, loses, keeps, m.anew(m.Hub)},
		{m.Spoke1, name, other, says, true, keeps, loses, m.anew(m.Spoke2)},
	}
}

// keyReloads change the GRE key of the overlay on one router after the other.
func (m *reloadMesh) keyReloads() []reload {
	key, says := line("key = 44"), "gre1 restarted key"
	return []reload{
		{m.Spoke1, "key", key, says, true, stops, stops, nil},
		{m.Hub, "key", key, says, true, loses, stops, m.spoke1At(m.Hub)},
		{m.Spoke2, "key", key, says, true, keeps, loses, m.direct},
	}
}
