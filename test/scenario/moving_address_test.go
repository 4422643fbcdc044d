//go:build lab

package scenario

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// Two hubs share one underlay address, which keepalived with the example gives to one of them by
// VRRP. They also have one overlay address, one identity and one key: to the spokes they are one
// hub. The status of the hub without the address says that it stands by. When the other one dies
// without a word, the address moves, and the spokes register with the new holder once dead peer
// detection has told them of the loss. A shortcut loses nothing meanwhile. The hub that returns
// stands by.
func TestHubAddressMoves(t *testing.T) {
	m := lab.NewMesh(t)
	m.AddIPsec(`dpd_delay = "1s"`)
	shared := addr("192.0.2.100")
	first, second := m.Hub, m.FurtherHub(2)
	second.Overlay, second.Interface[0] = first.Overlay, first.Interface[0]
	second.IPsec = first.IPsec
	hubs := []*lab.Site{first, second}
	for i, h := range hubs {
		h.Interface[slices.Index(h.Interface, `underlay = "eth0"`)] = `underlay = "192.0.2.100"`
		h.Public = shared
		h.WriteFile("/etc/keepalived.conf", 0o644, replace(contrib(t, "keepalived/hub.conf"),
			"198.51.100.1", shared.String(), "198.51.100.2", h.NBMA.String(),
			"198.51.100.3", hubs[1-i].NBMA.String()))
		h.Router.Start("keepalived", nil, "/usr/sbin/keepalived", "-n", "-P", "-l",
			"-f", "/etc/keepalived.conf", "-p", "/run/keepalived.pid", "-r", "/run/vrrp.pid")
		if h == first {
			m.Await("the first hub has the address", soon, func() error { return hasShared(h) })
		}
		h.Start()
	}
	spokes := []*lab.Site{m.Spoke1, m.Spoke2}
	for _, s := range spokes {
		useHubs(s, first)
		s.Start()
	}
	registeredWithHub(m, first, soon, spokes...)
	shortcut(m)
	m.Await("the second hub says that it stands by", soon, func() error {
		return standsBy(second, true)
	})
	m.Await("the first hub does not", soon, func() error { return standsBy(first, false) })

	toHub := m.Spoke1.Host.Flow(first.Overlay, beat)
	direct := m.Spoke1.Host.Flow(m.Spoke2.Host.Addr, beat)
	toHub.Back(time.Now(), soon)
	direct.Back(time.Now(), soon)
	died := time.Now()
	first.Die()
	m.Await("the second hub has the address", soon, func() error { return hasShared(second) })
	t.Logf("the address moved after %s", time.Since(died).Round(time.Millisecond))
	registeredWithHub(m, second, later, spokes...)
	back := toHub.Back(time.Now(), soon).Sub(died)
	t.Logf("the spokes are registered with the new holder after %s", back.Round(time.Millisecond))
	if back > deadWithin {
		t.Errorf("the hub was back after %s; promised are %s", back, deadWithin)
	}
	m.Await("the second hub does not stand by any more", soon, func() error {
		return standsBy(second, false)
	})

	returned := time.Now()
	first.Return()
	m.Await("the hub that is back stands by", soon, func() error {
		return standsBy(first, true)
	})
	for flow, since := range map[*lab.Flow]time.Time{toHub: returned, direct: died} {
		flow.Back(time.Now(), soon)
		if sent, lost, longest := flow.Loss(since); lost > 0 || sent == 0 {
			t.Errorf("%s: %d of %d packets lost, for at most %s", flow.Name, lost, sent, longest)
		}
	}
	alive(m)
	encrypted(m)
}

// hasShared returns nil if a hub has the shared address.
func hasShared(h *lab.Site) error {
	out := h.Run("ip", "-4", "-o", "addr", "show", "dev", "eth0")
	return lab.True(contains(out, "192.0.2.100/"), "the addresses are\n%s", out)
}

// standsBy returns nil if the status of a hub says that it stands by, or with want false, if
// the status finds no problem.
func standsBy(h *lab.Site, want bool) error {
	st, err := status(h)
	if err != nil {
		return err
	}
	code, text := h.StatusCode()
	told := slices.ContainsFunc(st.Problems, func(p api.Problem) bool {
		return p.Code == api.ProblemUnderlayAddress && contains(p.Text, "standing by")
	})
	if told != want || (code != 0) != want || contains(text, "does not have now") != want ||
		st.Interfaces[0].Absent != want {
		return fmt.Errorf("the status of %s has exit code %d:\n%s", h.Name, code, text)
	}
	return nil
}

// Two hubs at two places have the same underlay address (anycast), and so one overlay address and
// one identity. A router of the provider leads to one of them, and then to the other. The spokes'
// SAs stay behind. They are registered with the other hub once dead peer detection has told them of
// the loss, and a shortcut loses nothing meanwhile. The hub that the route leads away from loses
// its clients as well. A hub without clients has nothing wrong with it, before and after. The same
// goes for the way back.
func TestAnycastHub(t *testing.T) {
	m := lab.NewMesh(t)
	m.AddIPsec(`dpd_delay = "1s"`)
	shared := addr("203.0.113.1")
	first, second := m.Hub, m.FurtherHub(2)
	second.Overlay, second.Interface[0] = first.Overlay, first.Interface[0]
	second.IPsec = first.IPsec
	provider := m.Router("provider", lab.Addr("192.0.2.254/24"))
	provider.Sysctl("net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.eth0.send_redirects=0")
	leadTo := func(h *lab.Site) {
		provider.IP("route replace " + shared.String() + "/32 via " + h.NBMA.String())
	}
	leadTo(first)
	for _, h := range []*lab.Site{first, second} {
		h.IP("addr add " + shared.String() + "/32 dev lo")
		h.Interface[slices.Index(h.Interface, `underlay = "eth0"`)] =
			fmt.Sprintf("underlay = %q", shared)
		h.Public = shared
		h.Start()
	}
	spokes := []*lab.Site{m.Spoke1, m.Spoke2}
	for _, s := range spokes {
		s.IP("route add " + shared.String() + "/32 via 192.0.2.254")
		useHubs(s, first)
		s.Start()
	}
	registeredWithHub(m, first, soon, spokes...)
	shortcut(m)
	hasClients(m, first, 2, soon)
	hasClients(m, second, 0, soon)

	toHub := m.Spoke1.Host.Flow(first.Overlay, beat)
	direct := m.Spoke1.Host.Flow(m.Spoke2.Host.Addr, beat)
	toHub.Back(time.Now(), soon)
	direct.Back(time.Now(), soon)
	begun := time.Now()
	for _, change := range []struct{ from, to *lab.Site }{{first, second}, {second, first}} {
		led := time.Now()
		leadTo(change.to)
		registeredWithHub(m, change.to, later, spokes...)
		back := toHub.Back(time.Now(), soon).Sub(led)
		t.Logf("the route leads to %s: the spokes are registered there after %s",
			change.to.Name, back.Round(time.Millisecond))
		if back > deadWithin {
			t.Errorf("the hub was back after %s; promised are %s", back, deadWithin)
		}
		hasClients(m, change.to, 2, soon)
		hasClients(m, change.from, 0, later)
		t.Logf("%s has no client left after %s", change.from.Name,
			time.Since(led).Round(time.Millisecond))
	}
	direct.Back(time.Now(), soon)
	if sent, lost, longest := direct.Loss(begun); lost > 0 || sent == 0 {
		t.Errorf("%s: %d of %d packets lost, for at most %s", direct.Name, lost, sent, longest)
	}
	alive(m)
	encrypted(m)
}

// hasClients awaits that so many spokes are registered with a hub, and have an SA with it, and that
// its status finds nothing wrong.
func hasClients(m *lab.Mesh, h *lab.Site, clients int, within time.Duration) {
	m.Helper()
	m.Await(fmt.Sprintf("%s has %d clients", h.Name, clients), within, func() error {
		st, err := status(h)
		if err != nil {
			return err
		}
		if n := len(st.Interfaces[0].Bindings); n != clients {
			return fmt.Errorf("it has %d: %+v", n, st.Interfaces[0].Bindings)
		}
		if sas := h.Charon.SAs(); len(sas) != clients {
			return fmt.Errorf("its charon has %+v", sas)
		}
		code, text := h.StatusCode()
		return lab.True(code == 0, "its status has exit code %d:\n%s", code, text)
	})
}
