//go:build lab

package scenario

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"cygnet/nhrpd/packet"
	"cygnet/test/lab"
	"cygnet/vici"
	"cygnet/vici/profile"
)

// A crowd is many spokes on one node with one charon. Each spoke has an address and an identity of
// its own and wants an SA of its own with the hub. As soon as a spoke has its SA it sends a
// registration, and it repeats the registration every two seconds until the hub answers.
type crowd struct {
	*lab.Router
	client *vici.Client
	hub    *lab.Site
	size   int
	socket *lab.GRESocket

	mu         sync.Mutex
	registered map[int]time.Time // when the hub last answered; no entry without an SA
	secured    map[int]bool
}

// newCrowd makes the spokes. All of them begin to dial at once.
func newCrowd(m *lab.Mesh, size int) *crowd {
	m.Helper()
	c := &crowd{
		Router:     m.Router("crowd", lab.Addr("198.18.0.1/16")),
		hub:        m.Hub,
		size:       size,
		registered: map[int]time.Time{},
		secured:    map[int]bool{},
	}
	lines := []string{"route add 192.0.2.0/24 dev eth0"}
	for i := 2; i <= size; i++ {
		lines = append(lines, "addr add "+c.nbma(i).String()+"/16 dev eth0")
	}
	c.IP(lines...)
	c.Run("ip", "xfrm", "policy", "add", "src", "0.0.0.0/0", "dst", "0.0.0.0/0", "proto", "gre",
		"dir", "out", "action", "block", "priority", "500000")
	m.Hub.IP("route add 198.18.0.0/16 dev eth0")
	c.Router.Charon()
	c.socket = c.GRESocket(42)

	client := vici.New(vici.Options{
		Socket:         c.Path(lab.CharonSocket),
		Log:            slog.New(slog.DiscardHandler),
		MaxInitiations: size,
	})
	c.client = client
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = client.Run(ctx) })
	tasks.Go(func() { c.watch(ctx, client) })
	tasks.Go(func() { c.register(ctx) })
	tasks.Go(func() { c.listen(ctx) })
	m.Cleanup(func() { cancel(); tasks.Wait() })
	for i := 1; i <= size; i++ {
		client.SetProfile(profile.Profile{
			Interface:  fmt.Sprintf("spoke%d", i),
			LocalAddrs: []netip.Addr{c.nbma(i)},
			Identity:   fmt.Sprintf("spoke-%d.example.net", i),
			PSK:        profile.Secret(m.Hub.PSK),
			DPDDelay:   10 * time.Second,
		})
		client.Want(vici.Key{Interface: fmt.Sprintf("spoke%d", i), NBMA: m.Hub.Public},
			vici.InitiateFirst)
	}
	return c
}

// nbma returns the underlay address of a spoke. Spokes count from 1.
func (c *crowd) nbma(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
}

// overlay returns the overlay address of a spoke.
func (c *crowd) overlay(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 255, byte(1 + i>>8), byte(i)})
}

// watch records which spokes have an SA.
func (c *crowd) watch(ctx context.Context, client *vici.Client) {
	note := func(iface string, secured bool) {
		var i int
		if _, err := fmt.Sscanf(iface, "spoke%d", &i); err != nil {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.secured[i] = secured
		delete(c.registered, i)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-client.Events():
			switch e := e.(type) {
			case vici.Up:
				note(e.Interface, true)
			case vici.Down:
				note(e.Interface, false)
			case vici.Snapshot:
				note(e.Interface, len(e.Peers) > 0)
			}
		}
	}
}

// register sends a registration for each spoke that has an SA and no answer yet.
func (c *crowd) register(ctx context.Context) {
	sent, id := map[int]time.Time{}, uint32(0)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for i := 1; i <= c.size; i++ {
			c.mu.Lock()
			due := c.secured[i] && c.registered[i].IsZero() && time.Since(sent[i]) > 2*time.Second
			c.mu.Unlock()
			if !due {
				continue
			}
			sent[i] = time.Now()
			id++
			p := packet.Packet{
				Type: packet.RegistrationRequest, HopCount: 255, RequestID: id,
				SourceNBMA: c.nbma(i), SourceProtocol: c.overlay(i), DestProtocol: c.hub.Overlay,
				CIEs: []packet.CIE{{PrefixLength: 32, MTU: 1400, HoldingTime: 600}},
				Extensions: []packet.Extension{
					{Type: packet.ExtensionResponder, Compulsory: true},
					{Type: packet.ExtensionForwardTransit, Compulsory: true},
					{Type: packet.ExtensionReverseTransit, Compulsory: true},
				},
			}
			if data, err := p.Append(nil); err == nil {
				_ = c.socket.Send(c.nbma(i), c.hub.Public, 0x2001, data) // repeated if it is lost
			}
		}
	}
}

// listen records the hub's answers.
func (c *crowd) listen(ctx context.Context) {
	buf := make([]byte, 4096)
	for ctx.Err() == nil {
		_, to, protocol, payload, ok := c.socket.Receive(buf)
		var p packet.Packet
		if !ok || protocol != 0x2001 || p.Parse(payload) != nil ||
			p.Type != packet.RegistrationReply || len(p.CIEs) == 0 ||
			p.CIEs[0].Code != packet.CodeSuccess {
			continue
		}
		a := to.As4()
		c.mu.Lock()
		c.registered[int(a[2])<<8|int(a[3])] = time.Now()
		c.mu.Unlock()
	}
}

// registeredSince returns the number of spokes that the hub answered at t or later, on an SA that
// they still have.
func (c *crowd) registeredSince(t time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	count := 0
	for _, at := range c.registered {
		if !at.Before(t) {
			count++
		}
	}
	return count
}

// boundAndSecured returns the number of spokes for which the hub has a binding and an SA.
func (c *crowd) boundAndSecured() int {
	st, err := status(c.hub)
	if err != nil || len(st.Interfaces) == 0 {
		return 0
	}
	count := 0
	for _, b := range st.Interfaces[0].Bindings {
		if b.Secured {
			count++
		}
	}
	return count
}

// alone returns an error unless each spoke has exactly one SA, at both ends, and is the hub's
// neighbour. The SAs of the spokes are those that their VICI client follows: their charon has
// enough to do without listing all of them again and again.
func (c *crowd) alone() error {
	hub, spokes, neighbors := c.hub.Charon.SAs(), c.client.SAs(), c.hub.Neighbors("gre1")
	for i := 1; i <= c.size; i++ {
		if at := neighbors[c.overlay(i)]; at != c.nbma(i) {
			return fmt.Errorf("the hub's neighbour %s is at %s", c.overlay(i), at)
		}
	}
	return lab.True(len(hub) == c.size && len(spokes) == c.size,
		"the hub has %d SAs, the spokes have %d", len(hub), len(spokes))
}
