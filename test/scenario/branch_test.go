//go:build lab

package scenario

import (
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// branches is a mesh in which spoke1's LAN has a second router. The LAN's host sends by the second.
type branches struct {
	*lab.Mesh
	first, second *lab.Site // the routers of the LAN
	lan           string
}

// newBranches returns the mesh. Nothing runs on it yet.
func newBranches(t *testing.T) *branches {
	t.Helper()
	m := lab.NewMesh(t)
	first := m.Spoke1
	second := &lab.Site{
		Router:    m.Router("branch2", lab.Addr("192.0.2.14/24")),
		Overlay:   addr("10.255.0.14"),
		Public:    addr("192.0.2.14"),
		PSK:       first.PSK,
		Host:      first.Host,
		Limits:    first.Limits,
		Interface: slices.Clone(first.Interface),
		IPsec:     slices.Clone(first.IPsec),
	}
	second.Interface[0] = `address = "10.255.0.14/24"`
	first.IPsec[0] = `identity = "branch-11.example.net"`
	second.IPsec[0] = `identity = "branch-14.example.net"`
	second.JoinLAN(first.Router, "172.16.1.2/24")
	first.Host.IP("route replace default via 172.16.1.2")
	b := &branches{Mesh: m, first: first, second: second, lan: first.LAN.String()}
	for _, s := range b.all() {
		s.UseRoutes()
		s.IPsec = append(s.IPsec, `dpd_delay = "1s"`)
	}
	return b
}

// all returns the routers, the hub first.
func (b *branches) all() []*lab.Site {
	return []*lab.Site{b.Hub, b.first, b.second, b.Spoke2}
}

// direct awaits that spoke2 sends what is for the LAN straight to one of its routers.
func (b *branches) direct(to *lab.Site, within time.Duration) {
	b.Helper()
	b.Await("a shortcut from spoke2 to "+to.Name, within, func() error { return up(b.Spoke2, to) })
}

// dies ends the first router without a word while a flow from spoke2's site to the LAN goes on, and
// awaits that the second router is in its place.
func (b *branches) dies(flow *lab.Flow) {
	b.Helper()
	died := time.Now()
	b.first.Die()
	b.Await("the hub leads to the LAN by the second router", later, func() error {
		return leads(b.Hub, b.lan, b.second.Overlay)
	})
	b.Logf("the hub's route moved after %s", time.Since(died).Round(time.Millisecond))
	moved := flow.Back(time.Now(), later)
	_, _, longest := flow.Loss(died)
	b.Logf("spoke2 was without the LAN for %s", longest.Round(time.Millisecond))
	if moved.Sub(died) > deadWithin {
		b.Errorf("the traffic moved after %s; promised are %s", moved.Sub(died), deadWithin)
	}
	b.direct(b.second, later)
}

// Two routers of one LAN announce it to the hub, which the rule of doc/routing.md allows. The
// traffic goes to the first one that came. When that one dies, the second takes its place as soon
// as dead peer detection tells. The first comes back in reserve, and nothing moves or is lost by
// that.
func TestBranchRoutersAnnounce(t *testing.T) {
	b := newBranches(t)
	b.Hub.Interface = append(b.Hub.Interface, `accept = ["172.16.0.0/12"]`)
	announce := map[*lab.Site]string{b.first: b.lan, b.second: b.lan,
		b.Spoke2: b.Spoke2.LAN.String()}
	for s, prefix := range announce {
		s.UseRoutes("172.16.0.0/12 via 10.255.0.1")
		s.Interface = append(s.Interface, `announce = ["`+prefix+`"]`)
	}
	b.Hub.Rules = []string{
		lab.Snippet(t, routingPage, "[[interface.gre1.peer]]"),
		lab.Rule("spoke2.example.net", b.Spoke2.Overlay.String(),
			`announce = ["`+announce[b.Spoke2]+`"]`),
	}
	b.Hub.Start()
	for _, s := range []*lab.Site{b.Spoke2, b.first} {
		s.Start()
		b.Await("the hub leads to the LAN of "+s.Name, soon, func() error {
			return leads(b.Hub, announce[s], s.Overlay)
		})
	}
	b.second.Start()
	b.inReserve(b.second)
	flow := b.Spoke2.Host.Flow(b.first.Host.Addr, beat)
	b.direct(b.first, soon)

	b.dies(flow)
	returned := time.Now()
	b.first.Return()
	b.inReserve(b.first)
	flow.Back(time.Now(), soon)
	if sent, lost, longest := flow.Loss(returned); lost > 0 || sent == 0 {
		t.Errorf("with the return %d of %d packets lost, for at most %s", lost, sent, longest)
	}
	b.direct(b.second, soon)
	alive(b.Mesh)
	encrypted(b.Mesh)
}

// inReserve awaits that the hub has a router's announcement of the LAN in reserve, and says so.
func (b *branches) inReserve(s *lab.Site) {
	b.Helper()
	b.Await("the hub has "+s.Name+" in reserve", later, func() error {
		st, err := status(b.Hub)
		if err != nil {
			return err
		}
		reserve := slices.ContainsFunc(st.Bindings(), func(x api.Binding) bool {
			return x.Protocol == s.Overlay && slices.Contains(x.Reserve, b.first.LAN)
		})
		return lab.True(reserve, "bindings %+v", st.Bindings())
	})
	if text := b.Hub.Cygnet("bindings", "--wide"); !contains(text, b.lan+" (reserve)") {
		b.Errorf("cygnet bindings does not show the reserve:\n%s", text)
	}
}

// Two routers of one LAN speak BGP for it, with the examples for FRR. The hub prefers the first, by
// the local preference that the second gives what it announces, as doc/routing.md shows. When the
// first dies, BGP has the hub send by the second. When the first is back, the hub prefers it again,
// and so do the other sites as soon as they ask again for their shortcuts.
func TestBranchRoutersBGP(t *testing.T) {
	b := newBranches(t)
	spokeConf := contrib(t, "frr/spoke.conf")
	configs := map[*lab.Site]string{
		b.Hub: contrib(t, "frr/hub.conf"), b.first: spokeConf, b.Spoke2: another(spokeConf),
		b.second: replace(spokeConf, "10.255.0.11", b.second.Overlay.String()) +
			lab.Snippet(t, routingPage, "! BGP, the second router of a LAN"),
	}
	for _, s := range b.all() {
		s.Interface = append(s.Interface, `holding_time = "30s"`)
		s.Start()
		s.FRR("bgpd", replace(configs[s], "timers 10 30", "timers 1 6"))
	}
	preferred := func() {
		t.Helper()
		b.Await("the hub leads to the LAN by the first router", later, func() error {
			return leads(b.Hub, b.lan, b.first.Overlay)
		})
	}
	preferred()
	b.Await("spoke2 reaches the LAN", later, func() error {
		return b.Spoke2.Host.Reaches(b.first.Host.Addr)
	})
	flow := b.Spoke2.Host.Flow(b.first.Host.Addr, beat)
	b.direct(b.first, soon)

	b.dies(flow)
	returned := time.Now()
	b.first.Return()
	preferred()
	b.direct(b.first, later)
	t.Logf("the shortcut leads to the first router again %s after its return",
		time.Since(returned).Round(time.Millisecond))
	flow.Back(time.Now(), soon)
	if sent, lost, longest := flow.Loss(returned); lost > 0 || sent == 0 {
		t.Errorf("with the return %d of %d packets lost, for at most %s", lost, sent, longest)
	}
	alive(b.Mesh)
	encrypted(b.Mesh)
}
