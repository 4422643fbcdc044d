package engine

import (
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// A client's first registration takes a binding, a peer, a neighbour and an admission from the
// pools, each with room for one reference. It allocates nothing but the function that ends the
// binding.
func TestFirstRegistrationFindsAllReady(t *testing.T) {
	const clients = 500
	hub, _, _ := newClients(t, clients, func(c *overlay.InterfaceConfig) { c.Protected = false })
	var from []netip.Addr
	var registrations [][]byte
	for i := range clients {
		nbma := netip.AddrFrom4([4]byte{100, 65, byte(i >> 8), byte(i)})
		p := registrationFrom(
			nbma.String(), netip.AddrFrom4([4]byte{10, 201, byte(i >> 8), byte(i)}).String(),
		)
		data, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		from, registrations = append(from, nbma), append(registrations, data)
	}
	var out output.Output
	i := 0
	if got := testing.AllocsPerRun(clients-1, func() {
		hub.engine.Receive(
			hub.w.now.Add(time.Duration(i)*time.Millisecond), "gre1",
			peerid.At(from[i]), registrations[i], &out,
		)
		if len(out.Neighbors) != 1 || len(out.Packets) != 1 {
			t.Fatal("it is not registered")
		}
		out.Reset()
		i++
	}); got > 1 {
		t.Errorf("%v allocations for a first registration", got)
	}
}
