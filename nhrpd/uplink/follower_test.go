package uplink

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// host is a System with two devices and one hub.
type host struct {
	mu      sync.Mutex
	addrs   map[string]Addresses
	changed func()
	open    map[string]*socket
	silent  map[string]bool // the hub does not answer over the device
	hub     netip.Addr
}

// socket is a Prober of a host.
type socket struct {
	host   *host
	device string
	local  netip.Addr
	answer chan netip.Addr
	closed chan struct{}
	once   sync.Once
}

var (
	hub  = netip.MustParseAddr("192.0.2.1")
	hub6 = netip.MustParseAddr("2001:db8::1")
)

func newHost() *host {
	return &host{
		addrs:  map[string]Addresses{"eth0": {V4: addresses[0]}, "wwan0": {V4: addresses[1]}},
		open:   make(map[string]*socket),
		silent: make(map[string]bool),
		hub:    hub,
	}
}

func (h *host) Addresses(device string) (Addresses, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.addrs[device], nil
}

func (h *host) Watch(ctx context.Context, _ *slog.Logger, f func()) error {
	h.mu.Lock()
	h.changed = f
	h.mu.Unlock()
	f()
	<-ctx.Done()
	return nil
}

func (h *host) Open(device string, local netip.Addr) (Prober, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &socket{
		host: h, device: device, local: local,
		answer: make(chan netip.Addr, 8), closed: make(chan struct{}),
	}
	h.open[device] = s
	return s, nil
}

// set changes what the host has.
func (h *host) set(f func()) {
	h.mu.Lock()
	f()
	changed := h.changed
	h.mu.Unlock()
	changed()
}

func (s *socket) Send(to netip.Addr) error {
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	if to == s.host.hub && to.Is6() == s.local.Is6() && !s.host.silent[s.device] {
		s.answer <- to
	}
	return nil
}

func (s *socket) Receive() (netip.Addr, error) {
	select {
	case from := <-s.answer:
		return from, nil
	case <-s.closed:
		return netip.Addr{}, net.ErrClosed
	}
}

func (s *socket) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// A hub at an IPv6 address is probed from the IPv6 address of each uplink that has one. An uplink
// without any is not where the hub answers.
func TestHubAtAnIPv6Address(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost()
		h.hub = hub6
		f, uses := follow(t, h, true, Addresses{})
		f.SetHubs(false, []netip.Addr{hub6})
		time.Sleep(2 * time.Minute)
		if have := devices(uses()); !slices.Equal(have, []string{"eth0"}) {
			t.Errorf("no uplink has an IPv6 address; want eth0 in use, have %q", have)
		}
		own := netip.MustParseAddr("2001:db8::11")
		h.set(func() { h.addrs["wwan0"] = Addresses{V4: addresses[1], V6: own} })
		time.Sleep(2 * time.Minute)
		if have := devices(uses()); !slices.Equal(have, []string{"eth0", "wwan0"}) {
			t.Errorf("the hub answers over wwan0 only; want that in use, have %q", have)
		}
		if st := f.Status().Uplinks[1]; st.Address != addresses[1] || st.Second != own {
			t.Errorf("want both addresses of wwan0, have %+v", st)
		}
	})
}

// follow runs a Follower of a host, and returns it with what it chose so far.
func follow(t *testing.T, h *host, warm bool, local Addresses) (*Follower, func() []Use) {
	t.Helper()
	var mu sync.Mutex
	var uses []Use
	f := New(Config{Devices: []string{"eth0", "wwan0"}, Warm: warm, Return: 30 * time.Second},
		System{h.Addresses, h.Watch, h.Open}, slog.New(slog.DiscardHandler), local, func(u Use) {
			mu.Lock()
			defer mu.Unlock()
			uses = append(uses, u)
		})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	return f, func() []Use {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(uses)
	}
}

// devices returns the devices of the choices, each once in a row.
func devices(uses []Use) []string {
	var names []string
	for _, u := range uses {
		names = append(names, u.Device)
	}
	return slices.Compact(names)
}

// The first choice is made before Run: a restart of the daemon stays with the uplink in use.
func TestFirstChoiceIsMadeAtOnce(t *testing.T) {
	for local, want := range map[Addresses]string{
		{}:                 "eth0",
		{V4: addresses[1]}: "wwan0",
		{V6: hub6}:         "eth0",
	} {
		h := newHost()
		var chosen []string
		f := New(Config{Devices: []string{"eth0", "wwan0"}}, System{h.Addresses, h.Watch, h.Open},
			slog.New(slog.DiscardHandler), local, func(u Use) { chosen = append(chosen, u.Device) })
		f.closeAll()
		if !slices.Equal(chosen, []string{want}) {
			t.Errorf("local address %v: want %s chosen once, have %q", local, want, chosen)
		}
	}
}

// A hub that answers over the reserve only brings the tunnel there. When it answers over the first
// uplink again, the tunnel comes back.
func TestFollowerChangesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost()
		f, uses := follow(t, h, true, Addresses{})
		f.SetHubs(true, []netip.Addr{hub})
		time.Sleep(time.Minute)
		h.set(func() { h.silent["eth0"] = true })
		time.Sleep(time.Minute)
		if have := devices(uses()); !slices.Equal(have, []string{"eth0", "wwan0"}) {
			t.Fatalf("want the reserve in use, have %q", have)
		}
		st := f.Status()
		if st.Uplinks[0].InUse || !st.Uplinks[1].InUse || st.Uplinks[0].Lost == 0 ||
			st.Reason != "no hub answers over eth0 any more, and one does over wwan0" {
			t.Errorf("status %+v", st)
		}
		h.set(func() { h.silent["eth0"] = false })
		time.Sleep(20 * time.Second)
		if st := f.Status(); st.Uplinks[0].Returns.IsZero() {
			t.Errorf("want the time of the return, have %+v", st.Uplinks[0])
		}
		time.Sleep(time.Minute)
		if have := devices(uses()); !slices.Equal(have, []string{"eth0", "wwan0", "eth0"}) {
			t.Errorf("want the first uplink in use again, have %q", have)
		}
	})
}

// An uplink that loses its address is left at once. Its socket is closed, and one with the new
// address opened.
func TestFollowerFollowsAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost()
		f, uses := follow(t, h, false, Addresses{})
		f.SetHubs(true, []netip.Addr{hub})
		synctest.Wait()
		before := h.open["eth0"]
		h.set(func() { delete(h.addrs, "eth0") })
		synctest.Wait()
		if have := devices(uses()); !slices.Equal(have, []string{"eth0", "wwan0"}) {
			t.Errorf("want the reserve in use, have %q", have)
		}
		select {
		case <-before.closed:
		default:
			t.Error("the socket of the lost address is open")
		}
		fresh := Addresses{V4: netip.MustParseAddr("192.0.2.99")}
		h.set(func() { h.addrs["eth0"] = fresh })
		synctest.Wait()
		if last := uses()[len(uses())-1]; last.Device != "wwan0" || last.Addresses[0] != fresh {
			t.Errorf("want the new address told, and wwan0 in use; have %+v", last)
		}
		if h.open["eth0"] == before {
			t.Error("want a new socket for the new address")
		}
		h.set(func() { clear(h.addrs) })
		synctest.Wait()
		if last := uses()[len(uses())-1]; last.Device != "wwan0" || last.Addresses[1].IsValid() {
			t.Errorf("without any address the last choice stays; have %+v", last)
		}
	})
}
