package engine

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// newClients returns a hub with that many registered clients, the clients' NBMA addresses, and
// their registrations.
func newClients(
	tb testing.TB, count int, change ...func(*overlay.InterfaceConfig),
) (*node, []netip.Addr, [][]byte) {
	cfg := overlay.InterfaceConfig{
		Name:        "gre1",
		Address:     mustPrefix("10.128.0.1/9"),
		Table:       testTable,
		Protected:   true,
		HoldingTime: 10 * time.Minute,
		IdleTime:    5 * time.Minute,
		MTU:         1400,
		Server:      true,
		Limits: overlay.Limits{
			Bindings:    2 * count,
			Shortcuts:   10,
			Answers:     10,
			Held:        10,
			Indications: 10,
			Errors:      10,
			Requests:    1000,
			Transit:     1000,
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	hub := newWorld(tb).add("hub", cfg, "192.0.2.1", "")
	var from []netip.Addr
	var registrations [][]byte
	for i := range count {
		nbma := netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)})
		hub.from(nbma.String(), fmt.Sprint("client", i))
		p := registrationFrom(
			nbma.String(), netip.AddrFrom4([4]byte{10, 200, byte(i >> 8), byte(i)}).String(),
		)
		data, err := p.Append(nil)
		if err != nil {
			tb.Fatal(err)
		}
		from, registrations = append(from, nbma), append(registrations, data)
		hub.handle(event.PacketReceived{Interface: "gre1", From: peerid.At(nbma), Data: data})
	}
	if got := len(hub.status().Bindings); got != count {
		tb.Fatalf("%d bindings, want %d", got, count)
	}
	return hub, from, registrations
}

// A refresh of a known binding allocates nothing.
func TestRefreshDoesNotAllocate(t *testing.T) {
	hub, from, registrations := newClients(t, 100)
	var out output.Output
	now, i := hub.w.now, 0
	allocs := testing.AllocsPerRun(1000, func() {
		now, i = now.Add(time.Millisecond), (i+1)%len(from)
		hub.engine.Receive(now, "gre1", peerid.At(from[i]), registrations[i], &out)
		if len(out.Packets) != 1 {
			t.Fatal("not answered")
		}
		out.Reset()
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a refresh", allocs)
	}
}

// The cost of a refresh hardly depends on the number of clients.
func BenchmarkRegistrationRefresh(b *testing.B) {
	for _, clients := range []int{1000, 10000} {
		b.Run(fmt.Sprint(clients, " clients"), func(b *testing.B) {
			hub, from, registrations := newClients(b, clients)
			var out output.Output
			now, i := hub.w.now, 0
			b.ReportAllocs()
			for b.Loop() {
				now, i = now.Add(20*time.Millisecond), (i+1)%len(from)
				hub.engine.Receive(now, "gre1", peerid.At(from[i]), registrations[i], &out)
				out.Reset()
			}
		})
	}
}
