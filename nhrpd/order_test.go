package nhrpd

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/packet"
	"cygnet/vici"

	"cygnet/nhrpd/engine/peerid"
)

// hubToml is the shortest configuration of a hub.
const hubToml = `
[interface.gre1]
address  = "10.255.0.1/24"
underlay = "eth0"
key      = 42

[interface.gre1.ipsec]
identity = "hub.example.net"
psk_file = "/etc/cygnet/gre1.psk"
`

// A router is admitted before a packet tells the router that it may send: its data may follow that
// packet at once.
func TestAdmissionComesBeforePackets(t *testing.T) {
	inWorldOf(t, []byte(hubToml), func(t *testing.T, w *world, d *Daemon) {
		w.eBPF = true
		client := netip.MustParseAddr("192.0.2.12")
		w.tunnels["gre1"].states <- tunnelThere
		synctest.Wait()
		w.events <- vici.Up{Peer: vici.Peer{
			Interface: "gre1",
			NBMA:      client,
			Identity:  "spoke2.example.net",
		}}
		synctest.Wait()
		p := packet.Packet{
			Type:           packet.RegistrationRequest,
			HopCount:       255,
			RequestID:      7,
			SourceNBMA:     client,
			SourceProtocol: netip.MustParseAddr("10.255.0.12"),
			DestProtocol:   netip.MustParseAddr("10.255.0.1"),
			CIEs:           []packet.CIE{{PrefixLength: 32, HoldingTime: 600}},
		}
		data, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		w.socket(0).in <- nhrpsocket.Message{NBMA: client, Data: data}
		synctest.Wait()
		admitted, told := w.noted("admit 192.0.2.12"), w.noted("send to 192.0.2.12")
		if admitted < 0 || told < 0 || admitted > told {
			t.Errorf("admitted as call %d, answered as call %d: %q", admitted, told, w.record)
		}
	})
}

// The loop no longer uses a channel when the channel is closed. A channel is closed when the tunnel
// has another device or none, when the interface starts anew, and when the interface leaves.
func TestNoChannelIsUsedOnceItIsClosed(t *testing.T) {
	for _, c := range []struct {
		what string
		do   func(t *testing.T, w *world, d *Daemon)
	}{
		{"another device", func(_ *testing.T, w *world, _ *Daemon) {
			st := tunnelThere
			st.Index++
			w.tunnels["gre1"].states <- st
		}},
		{"no device", func(_ *testing.T, w *world, _ *Daemon) {
			w.tunnels["gre1"].states <- tunnel.State{}
		}},
		{"closed", func(t *testing.T, _ *world, d *Daemon) {
			err := d.managed(t.Context(), func(ctx context.Context, _ *errgroup.Group) error {
				d.close(ctx, "gre1")
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world, d *Daemon) {
				w.eBPF = true
				secureHub(w)
				closed := 0
				w.closing = func() {
					closed++
					// A turn that sends and admits would use a closed channel, and so would a turn
					// that reads the counters.
					err := d.loop.call(t.Context(), func(now time.Time) {
						d.loop.out.Packets = append(d.loop.out.Packets, engine.Packet{
							Interface: "gre1",
							To:        peerid.At(hubNBMA),
							Data:      []byte("x"),
						})
						key := engine.PeerKey{Interface: "gre1", ID: peerid.At(hubNBMA)}
						d.loop.out.Admitted = append(d.loop.out.Admitted,
							engine.AdmissionChange{PeerKey: key, NHS: true})
						d.loop.carryOut(now)
					})
					if err != nil {
						t.Error(err)
					}
					if _, err := d.Status(t.Context()); err != nil {
						t.Error(err)
					}
				}
				c.do(t, w, d)
				synctest.Wait()
				if w.closing = nil; closed != 2 {
					t.Errorf("%d of socket and data path were closed", closed)
				}
			})
		})
	}
}
