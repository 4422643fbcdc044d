package nhrpd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/tables"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/packet"
	"cygnet/nhrpd/platform"
	"cygnet/nhrpd/translate"
	"cygnet/vici"

	"cygnet/nhrpd/engine/peerid"
)

// The parts of the system that a turn calls, without cost of their own.
type (
	freeTables     struct{ platform.Tables }
	freeStrongswan struct{ platform.Strongswan }
	freeSocket     struct{ platform.Socket }
	freePath       struct{ datapath.Path }
)

func (freeTables) Want([]tables.Change)                             {}
func (freeTables) After(f func())                                   { f() }
func (freeStrongswan) Want(vici.Key, vici.Want)                     {}
func (freeStrongswan) Close(vici.Key)                               {}
func (freeSocket) WriteBatch(ms []nhrpsocket.Message) (int, error)  { return len(ms), nil }
func (freePath) Admit([]datapath.Admission) error                   { return nil }
func (freePath) Run(context.Context, func(datapath.Redirect)) error { return nil }

// benchHub returns the loop of a hub, its interface, and the registrations of that many clients,
// which have their SAs.
func benchHub(b *testing.B, clients int) (*loop, *iface, []nhrpsocket.Message) {
	b.Helper()
	toml := strings.Replace(hubToml, "10.255.0.1/24", "10.255.0.1/16", 1)
	c := testConfig(b, []byte(toml), b.TempDir())
	c.Interfaces[0].Limits.Bindings = clients
	e := engine.New(rand.New(rand.NewPCG(1, 2)), 1)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	l := newLoop(log, e, freeTables{}, freeStrongswan{})
	l.open(&runner{config: c.Interfaces[0], log: log})
	i := l.iface("gre1")
	i.channel = &channel{socket: freeSocket{}, path: freePath{}}
	now := time.Now()
	e.Configure(now, translate.EngineConfig(c), &l.out)
	e.Handle(now, engine.LocalAddress{Interface: "gre1", NBMA: hubNBMA}, &l.out)
	var messages []nhrpsocket.Message
	for n := range clients {
		nbma := netip.AddrFrom4([4]byte{100, 64, byte(n >> 8), byte(n)})
		e.Handle(now, engine.PeerSecured{Peer: engine.Peer{
			Interface: "gre1",
			ID:        peerid.At(nbma),
			Identity:  fmt.Sprintf("spoke%d.example.net", n),
		}}, &l.out)
		p := packet.Packet{
			Type:           packet.RegistrationRequest,
			HopCount:       255,
			RequestID:      1,
			SourceNBMA:     nbma,
			SourceProtocol: netip.AddrFrom4([4]byte{10, 255, byte(n>>8) + 1, byte(n)}),
			DestProtocol:   hubOverlay,
			CIEs:           []packet.CIE{{PrefixLength: 32, HoldingTime: 600}},
		}
		data, err := p.Append(nil)
		if err != nil {
			b.Fatal(err)
		}
		messages = append(messages, nhrpsocket.Message{NBMA: nbma, Data: data})
		l.carryOut(now)
	}
	return l, i, messages
}

// BenchmarkTurn shows what the daemon's own part of a registration costs: the first one and a
// refresh, alone in its turn and together with others.
func BenchmarkTurn(b *testing.B) {
	const clients = 10_000
	for _, size := range []int{1, 64} {
		plain := make([]bool, size) // no SA of a policy
		b.Run(fmt.Sprintf("first/%d in a turn", size), func(b *testing.B) {
			b.ReportAllocs()
			var l *loop
			var i *iface
			var messages []nhrpsocket.Message
			for n := 0; n < b.N; n += size {
				if len(messages) < size {
					b.StopTimer()
					l, i, messages = benchHub(b, clients)
					b.StartTimer()
				}
				now := time.Now()
				l.receive(now, &batch{iface: i, messages: messages, n: size, byPolicy: plain})
				l.finish(now)
				messages = messages[size:]
			}
		})
		b.Run(fmt.Sprintf("refresh/%d in a turn", size), func(b *testing.B) {
			l, i, messages := benchHub(b, clients)
			now := time.Now()
			turn := func(at int) {
				now = now.Add(time.Duration(size) * 20 * time.Millisecond)
				l.receive(now, &batch{
					iface: i, messages: messages[at : at+size], n: size, byPolicy: plain,
				})
				l.finish(now)
			}
			for at := 0; at+size <= clients; at += size {
				turn(at)
			}
			if got := len(l.engine.Status()[0].Bindings); got < clients-size {
				b.Fatalf("want %d clients registered, have %d", clients, got)
			}
			b.ReportAllocs()
			b.ResetTimer()
			at := 0
			for n := 0; n < b.N; n += size {
				turn(at)
				at = (at + size) % (clients - size)
			}
		})
	}
}
