//go:build lab

package scenario

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// reserveMesh is a mesh whose second hub is on the LAN of the first. Spoke1 uses one of the hubs at
// a time, the first if it can. It announces its LAN, and learns from BGP which hub leads to theirs.
// The hosts of the hubs' LAN send by the second hub, which has a route by the first for networks
// that no client announces.
type reserveMesh struct {
	*lab.Mesh
	hub2 *lab.Site
}

func newReserveMesh(t lab.T) *reserveMesh {
	m := &reserveMesh{Mesh: lab.NewMesh(t)}
	m.hub2 = m.FurtherHub(2)
	m.hub2.JoinLAN(m.Hub.Router, "172.16.0.2/24")
	for _, h := range m.hubs() {
		h.UseRoutes()
		h.Interface = append(h.Interface, `accept = ["172.16.0.0/12"]`)
		h.Sysctl("net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.lan0.send_redirects=0")
	}
	m.hub2.IP("route add 172.16.0.0/16 via 172.16.0.1")
	m.Hub.Host.IP("route replace default via 172.16.0.2")

	s := m.Spoke1
	s.UseRoutes()
	i := slices.IndexFunc(s.Interface, func(line string) bool { return contains(line, "nhs =") })
	s.Interface[i] = strings.Join([]string{
		`nhs = [{ nbma = "192.0.2.1", priority = 1 }, { nbma = "192.0.2.2", priority = 2 }]`,
		"nhs_cluster = [{ cluster = 0, max_connections = 1 }]",
		`fallback_delay = "5s"`,
		`announce = ["172.16.1.0/24"]`,
	}, "\n")
	s.IPsec = append(s.IPsec, `dpd_delay = "1s"`)
	return m
}

func (m *reserveMesh) hubs() []*lab.Site { return []*lab.Site{m.Hub, m.hub2} }

// hubBIRD announces the hubs' LAN to the spoke. A BIRD that stands still for three seconds must not
// end a session, and BIRD ends a hold time after three quarters of it already. Six seconds are less
// than the ten for which a hub that a spoke has left takes its packets.
const hubBIRD = `protocol device { }
protocol direct { ipv4; interface "lan0"; }
protocol bgp spokes {
	local as 65000;
	neighbor range 10.255.0.0/24 as 65000;
	direct;
	hold time 6;
	keepalive time 1;
	ipv4 { import none; export all; };
}
`

// spokeBIRD takes routes from both hubs, and prefers those of the first.
const spokeBIRD = `protocol device { }
protocol kernel { ipv4 { export where source = RTS_BGP; }; }
template bgp hub {
	local as 65000;
	direct;
	hold time 6;
	keepalive time 1;
	connect retry time 1;
	connect delay time 1;
	error wait time 1, 2;
}
protocol bgp hub1 from hub { neighbor 10.255.0.1 as 65000; ipv4 { preference 200; import all; }; }
protocol bgp hub2 from hub { neighbor 10.255.0.2 as 65000; ipv4 { import all; }; }
`

// bgp starts BIRD on a site.
func bgp(s *lab.Site, config string) {
	s.WriteFile("/etc/cygnet/bird.conf", 0o644,
		fmt.Sprintf("router id %s;\n%s", s.Overlay, config))
	s.Router.Start("bird", nil, "/usr/sbin/bird", "-f", "-c", "/etc/cygnet/bird.conf",
		"-s", "/run/bird.ctl")
}

// startWithBGP starts the hubs and spoke1 with BIRD, and awaits that the spoke uses the first hub.
func (m *reserveMesh) startWithBGP() {
	m.Helper()
	for _, s := range []*lab.Site{m.Hub, m.hub2, m.Spoke1} {
		s.Start()
	}
	for _, h := range m.hubs() {
		bgp(h, hubBIRD)
	}
	bgp(m.Spoke1, spokeBIRD)
	m.uses(m.Spoke1, m.Hub, m.hub2, soon)
}

// uses awaits that a spoke uses one hub: it has its SA, its neighbour and its registration, and has
// nothing with the other hub.
func (m *reserveMesh) uses(s, hub, other *lab.Site, within time.Duration) {
	m.Helper()
	registeredWithHub(m.Mesh, hub, within, s)
	m.Await(s.Name+" has nothing with "+other.Name, within, func() error {
		if at, ok := s.Neighbors("gre1")[other.Overlay]; ok {
			return fmt.Errorf("neighbour %s at %s", other.Overlay, at)
		}
		st, err := status(s)
		if err != nil {
			return err
		}
		for _, n := range st.Interfaces[0].NHS {
			if want := n.NBMA == hub.Public; (n.Use == "in use") != want {
				return fmt.Errorf("%s is %s, %s", n.NBMA, n.Use, n.Error)
			}
		}
		return nil
	})
}

// A spoke with two hubs of one cluster uses the first. When that dies without a word, its traffic
// to the LAN behind both goes over the second within the time that dead peer detection takes, and
// three seconds. When the first is back, the traffic returns after the fallback delay, and no
// packet is lost.
func TestHubInReserve(t *testing.T) {
	m := newReserveMesh(t)
	m.startWithBGP()
	flow := m.Spoke1.Host.Flow(m.Hub.Host.Addr, 10*time.Millisecond)
	flow.Back(time.Now(), soon)

	died := time.Now()
	m.Hub.Die()
	dead := time.Now()
	m.Await("the loss of the hub is known", deadWithin, func() error {
		return noneWith(m.Spoke1, m.Hub.Public)
	})
	known := time.Now()
	registeredWithHub(m.Mesh, m.hub2, soon, m.Spoke1)
	t.Logf("the second hub has registered the spoke %s after the loss of the first was known",
		time.Since(known).Round(time.Millisecond))
	moved := flow.Back(dead, later).Sub(died).Round(time.Millisecond)
	t.Logf("the traffic moved after %s", moved)
	if moved > deadWithin {
		t.Errorf("the traffic moved after %s; promised are %s", moved, deadWithin)
	}

	returned := time.Now()
	m.Hub.Return()
	m.uses(m.Spoke1, m.Hub, m.hub2, later)
	t.Logf("the first hub is used again %s after it is back",
		time.Since(returned).Round(time.Millisecond))
	if at, ok := m.hub2.Neighbors("gre1")[m.Spoke1.Overlay]; ok {
		t.Errorf("the second hub still has the spoke at %s", at)
	}
	flow.Back(time.Now(), soon)
	if sent, lost, longest := flow.Loss(returned); lost > 0 || sent == 0 {
		t.Errorf("with the return %d of %d packets were lost, for at most %s", lost, sent, longest)
	} else {
		t.Logf("with the return 0 of %d packets were lost", sent)
	}
	encrypted(m.Mesh)
}

// A hub that takes no further clients refuses the next one with code 5. That spoke uses the
// next hub of the cluster at once, and its status says why. When a client of the full hub leaves,
// the spoke gets its place.
func TestFullHub(t *testing.T) {
	m := newReserveMesh(t)
	m.Hub.Limits = []string{"bindings = 1"}
	for _, s := range []*lab.Site{m.Hub, m.hub2, m.Spoke2} {
		s.Start()
	}
	registered(m.Mesh, m.Spoke2, soon)
	m.Spoke1.Start()
	m.uses(m.Spoke1, m.hub2, m.Hub, soon)
	// A full hub that takes more than three seconds to answer refuses only once the spoke uses the
	// next one.
	m.Await("the full hub refuses spoke1", soon, func() error {
		st, err := status(m.Spoke1)
		if err != nil {
			return err
		}
		full := st.Interfaces[0].NHS[0]
		return lab.True(full.State == "refused" && full.Use == "probing" &&
			contains(full.Error, "insufficient resources"), "%+v", full)
	})
	text := m.Spoke1.Cygnet("nhs", "--wide")
	if !contains(text, "probing") || !contains(text, "takes no further clients") {
		t.Errorf("cygnet nhs does not say why the first hub is not used:\n%s", text)
	}
	m.Spoke2.Cygnet("leave")
	m.uses(m.Spoke1, m.Hub, m.hub2, later)
	encrypted(m.Mesh)
}

// A hub that is drained asks its clients away. The spoke registers with the next hub first and goes
// then, and no packet is lost. When the hub has no client left, its daemon can stop.
func TestDrainedHub(t *testing.T) {
	m := newReserveMesh(t)
	m.Spoke1.Interface = append(m.Spoke1.Interface, `holding_time = "30s"`)
	m.startWithBGP()
	flow := m.Spoke1.Host.Flow(m.Hub.Host.Addr, 10*time.Millisecond)
	flow.Back(time.Now(), soon)

	drained := time.Now()
	if text := m.Hub.Cygnet("drain", "--for", "2m"); !contains(text, "No client is left") {
		t.Errorf("cygnet drain says:\n%s", text)
	}
	t.Logf("the hub has no client left after %s", time.Since(drained).Round(time.Millisecond))
	m.uses(m.Spoke1, m.hub2, m.Hub, later)
	m.Hub.Daemon.Kill()
	flow.Back(time.Now(), soon)
	if sent, lost, longest := flow.Loss(drained); lost > 0 || sent == 0 {
		t.Errorf("%d of %d packets were lost, for at most %s", lost, sent, longest)
	} else {
		t.Logf("0 of %d packets were lost", sent)
	}
	encrypted(m.Mesh)
}

// A name with several addresses is several hubs of equal priority, over which the spokes spread.
// Spoke2 ranks the first hub higher, and uses it. Spoke1 ranks the second higher, but its name has
// only the first until the second is added. Spoke1 then finds the second without a restart, and
// moves to it after the fallback delay, without a loss. Spoke2 stays.
func TestHubAddedToTheirName(t *testing.T) {
	m := newReserveMesh(t)
	name := func(s *lab.Site, hubs ...*lab.Site) {
		var hosts strings.Builder
		for _, h := range hubs {
			fmt.Fprintf(&hosts, "%s hubs.example.net\n", h.Public)
		}
		s.WriteFile("/etc/hosts", 0o644, hosts.String())
	}
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		useNHS(s, strings.Join([]string{
			`nhs = [{ nbma = "hubs.example.net" }]`,
			"nhs_cluster = [{ cluster = 0, max_connections = 1 }]",
			`fallback_delay = "5s"`,
		}, "\n"))
	}
	m.Spoke1.Interface = append(m.Spoke1.Interface, `announce = ["172.16.1.0/24"]`)
	name(m.Spoke1, m.Hub)
	name(m.Spoke2, m.Hub, m.hub2)
	m.startWithBGP()
	added := time.Now()
	name(m.Spoke1, m.Hub, m.hub2)
	m.Spoke2.Start()
	m.uses(m.Spoke2, m.Hub, m.hub2, soon)
	flow := m.Spoke1.Host.Flow(m.Hub.Host.Addr, 10*time.Millisecond)
	flow.Back(time.Now(), soon)

	begun := time.Now()
	m.uses(m.Spoke1, m.hub2, m.Hub, later) // a name is looked up each minute
	t.Logf("the spoke has moved %s after the hub was added",
		time.Since(added).Round(time.Millisecond))
	flow.Back(time.Now(), soon)
	if sent, lost, longest := flow.Loss(begun); lost > 0 || sent == 0 {
		t.Errorf("%d of %d packets were lost, for at most %s", lost, sent, longest)
	} else {
		t.Logf("0 of %d packets were lost", sent)
	}
	m.uses(m.Spoke2, m.Hub, m.hub2, soon)
	encrypted(m.Mesh)
}
