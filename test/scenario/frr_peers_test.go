//go:build lab

package scenario

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// Two FRR spokes register with our hub. The hub tells them of a shorter way, and they take it.
func TestFRRSpokesUnderOurHub(t *testing.T) {
	m := frrMesh(t)
	m.Hub.Start()
	one, two := frrSpoke(m, m.Spoke1), frrSpoke(m, m.Spoke2)
	for _, f := range []*frrSite{one, two} {
		f.registeredWith(m, m.Hub, soon)
		f.Host.Ping(m.Hub.Host.Addr, 2)
	}
	train := one.Host.Train(two.Host.Addr, 100*time.Millisecond)
	m.Await("FRR's spoke1 sends directly to spoke2", soon, func() error {
		return one.heads(two.Site)
	})
	m.Await("FRR's spoke2 sends directly to spoke1", soon, func() error {
		return two.heads(one.Site)
	})
	train.Stop()
	direct(m, one.Site, two.Site)
	alive(m)
	decoded(m, m.Hub)
}

// mixedSpokes starts our spoke and an FRR spoke. Both register with the hub that runs, ours or
// FRR's, and find each other through it. It returns the FRR spoke.
func mixedSpokes(m *lab.Mesh) *frrSite {
	m.Helper()
	m.Spoke1.Start()
	two := frrSpoke(m, m.Spoke2)
	registered(m, m.Spoke1, soon)
	two.registeredWith(m, m.Hub, soon)
	shortcutWith(m, m.Spoke1, two)
	return two
}

// Our spoke and an FRR spoke find each other through our hub. All tunnels have host prefixes, as
// FRR's always have.
func TestOurSpokeAndFRRSpokeUnderOurHub(t *testing.T) {
	m := frrMesh(t)
	m.Hub.SetAddress(32)
	m.Spoke1.SetAddress(32)
	m.Hub.Start()
	mixedSpokes(m)
	direct(m, m.Spoke1, m.Spoke2)
	alive(m)
	decoded(m, m.Hub, m.Spoke1)
}

// Our spokes register with FRR's hub and follow its traffic indications. The hub refuses the
// prefixes that the spokes announce: the spokes say so, and stay registered.
func TestOurSpokesUnderFRRHub(t *testing.T) {
	m := frrMesh(t)
	m.Spoke1.SetAddress(32) // spoke2 has the usual prefix
	m.Spoke1.Interface = append(m.Spoke1.Interface, `announce = ["172.16.1.0/24"]`,
		`holding_time = "12s"`)
	m.Spoke2.Interface = append(m.Spoke2.Interface, `announce = ["172.16.2.0/24"]`)
	hub := frrHub(m)
	m.Spoke1.Start()
	m.Spoke2.Start()
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		registered(m, s, soon)
		m.Await("FRR's hub lists "+s.Name, soon, func() error { return hub.knows(s, "dynamic") })
		s.Host.Ping(m.Hub.Host.Addr, 2)
	}
	shortcut(m)
	direct(m, m.Spoke1, m.Spoke2)
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		m.Await(s.Name+" says that its prefix was refused", soon, func() error {
			n, err := nhs(s)
			if err != nil {
				return err
			}
			return lab.True(n.State == api.NHSRegistered && len(n.Announced) == 0 &&
				contains(n.Error, "refuses our prefix", s.LAN.String()), "it says %+v", n)
		})
	}
	first, err := nhs(m.Spoke1)
	t.Logf("spoke1 says %q", first.Error)
	if err != nil {
		t.Fatal(err)
	}
	m.Await("spoke1 refreshes its registration", soon, func() error {
		n, err := nhs(m.Spoke1)
		if err != nil {
			return err
		}
		return lab.True(n.State == api.NHSRegistered && n.Registered.After(first.Registered),
			"it says %+v", n)
	})
	cache, err := hub.cache()
	if err != nil {
		t.Fatal(err)
	}
	hosts := slices.SortedFunc(maps.Keys(cache), netip.Addr.Compare)
	if want := []netip.Addr{m.Hub.Overlay, m.Spoke1.Overlay,
		m.Spoke2.Overlay}; !slices.Equal(hosts, want) {
		t.Errorf("FRR's hub has %v in its cache; want %v", hosts, want)
	}
	alive(m)
	decoded(m, m.Spoke1, m.Spoke2)
}

// Our spoke and an FRR spoke find each other through FRR's hub.
func TestOurSpokeAndFRRSpokeUnderFRRHub(t *testing.T) {
	m := frrMesh(t)
	hub := frrHub(m)
	mixedSpokes(m)
	m.Await("FRR's hub lists our spoke", soon, func() error {
		return hub.knows(m.Spoke1, "dynamic")
	})
	direct(m, m.Spoke1, m.Spoke2)
	alive(m)
	decoded(m, m.Spoke1)
}

// FRR's spoke dies while it is registered and has a shortcut, and comes back. Then everything is as
// before.
func TestFRRSpokeRestarted(t *testing.T) {
	m := frrMesh(t)
	m.Hub.Start()
	two := mixedSpokes(m)

	two.kill(m)
	two.start(m)
	two.registeredWith(m, m.Hub, soon)
	two.Host.Ping(m.Hub.Host.Addr, 2)
	shortcutWith(m, m.Spoke1, two)
	direct(m, m.Spoke1, m.Spoke2)
	var bindings []struct{ Prefix, NBMA string }
	if err := m.Hub.CygnetJSON(&bindings, "bindings"); err != nil {
		t.Error(err)
	} else if len(bindings) != 2 {
		t.Errorf("after the restart the hub lists %+v", bindings)
	}
	alive(m)
	decoded(m, m.Hub, m.Spoke1)
}

// FRR's hub dies while our spokes are registered and talk directly, and comes back with nothing in
// its memory. The spokes go on talking without a loss, register with the hub again at their next
// refresh, and find each other anew.
func TestFRRHubRestarted(t *testing.T) {
	m := frrMesh(t)
	m.Add(`holding_time = "30s"`)
	hub := frrHub(m)
	spokes := []*lab.Site{m.Spoke1, m.Spoke2}
	listed := func(within time.Duration) {
		t.Helper()
		for _, s := range spokes {
			registered(m, s, within)
			m.Await("FRR's hub lists "+s.Name, within, func() error {
				return hub.knows(s, "dynamic")
			})
		}
	}
	for _, s := range spokes {
		s.Start()
	}
	listed(soon)
	shortcut(m)

	flow := m.Spoke1.Host.Flow(m.Spoke2.Host.Addr, 50*time.Millisecond)
	begin := time.Now()
	hub.kill(m)
	hub.start(m)
	listed(soon)
	flow.Back(time.Now(), soon)
	if sent, lost, longest := flow.Loss(begin); lost > 0 || sent == 0 {
		t.Errorf("between the spokes %d of %d packets were lost, for at most %s", lost, sent,
			longest)
	}
	flow.Stop()
	for _, s := range spokes {
		s.Host.Ping(m.Hub.Host.Addr, 2)
	}
	shortcut(m)
	direct(m, m.Spoke1, m.Spoke2)
	alive(m)
	decoded(m, spokes...)
}

// One of three FRR hubs dies and comes back. Our spokes stay registered with the other two
// meanwhile, and then return to it.
func TestOneOfThreeFRRHubsDies(t *testing.T) {
	m := frrMesh(t)
	hubs := []*frrSite{frrHub(m), frrFurtherHub(m, 2), frrFurtherHub(m, 3)}
	spokes := []*lab.Site{m.Spoke1, m.Spoke2}
	for _, s := range spokes {
		for i, line := range s.Interface {
			if contains(line, "nhs =") {
				s.Interface[i] = `nhs = [{ nbma = "192.0.2.1" }, { nbma = "192.0.2.2" }, { nbma = "192.0.2.3" }]`
			}
		}
		s.Interface = append(s.Interface, `holding_time = "10s"`)
		s.Start()
	}
	with := func(h *frrSite, within time.Duration) {
		t.Helper()
		for _, s := range spokes {
			m.Await(s.Name+" is registered with "+h.Name, within, func() error {
				if at := s.Neighbors("gre1")[h.Overlay]; at != h.Public {
					return fmt.Errorf("the spoke's neighbour %s is at %s", h.Overlay, at)
				}
				if err := h.knows(s, "dynamic"); err != nil {
					return err
				}
				return answers(h.Router, s.Overlay, s.Public)
			})
		}
	}
	for _, h := range hubs {
		with(h, soon)
	}

	hubs[1].kill(m)
	for _, s := range spokes {
		m.Await(s.Name+" notices that the hub is gone", soon, func() error {
			st, err := status(s)
			if err != nil {
				return err
			}
			for _, n := range st.Interfaces[0].NHS {
				if (n.State == "registered") == (n.NBMA == hubs[1].Public) {
					return fmt.Errorf("its NHSs are %+v", st.Interfaces[0].NHS)
				}
			}
			return nil
		})
	}
	with(hubs[0], soon)
	with(hubs[2], soon)
	for _, s := range spokes {
		m.Await(s.Name+" sends nothing to the dead hub any more", soon, func() error {
			at, there := s.Neighbors("gre1")[hubs[1].Overlay]
			return lab.True(!there, "the spoke's neighbour %s is still at %s", hubs[1].Overlay, at)
		})
	}
	shortcut(m)
	direct(m, m.Spoke1, m.Spoke2)

	hubs[1].start(m)
	with(hubs[1], later)
	for _, s := range spokes {
		s.Ping(hubs[1].Overlay, 2)
	}
	alive(m)
	decoded(m, spokes...)
}
