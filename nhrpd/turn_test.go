package nhrpd

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/packet"
	"cygnet/nhrpd/platform"
	"cygnet/vici"

	"cygnet/nhrpd/engine/peerid"
)

// serverWith runs f with a router that takes registrations and has an SA with a client.
func serverWith(t *testing.T, f func(t *testing.T, w *world, d *Daemon)) {
	toml := strings.Replace(spokeToml, "shortcut = true\n", "shortcut = true\nserver = true\n", 1)
	inWorldOf(t, []byte(toml), func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		register(t, w, w.socket(0))
		w.events <- vici.Up{Peer: vici.Peer{
			Interface: "gre1",
			NBMA:      clientNBMA,
			Identity:  "spoke2.example.net",
		}}
		synctest.Wait()
		f(t, w, d)
	})
}

// Packets that arrive while the loop is busy are read and answered together, because each read,
// each write and each turn costs system calls.
func TestPacketsThatArriveDuringATurnAreOneBatch(t *testing.T) {
	serverWith(t, func(t *testing.T, w *world, d *Daemon) {
		socket := w.socket(0)
		before, reads, writes := len(socket.packets()), socket.reads.Load(), socket.writes.Load()
		busy := make(chan struct{})
		go d.loop.call(t.Context(), func(time.Time) { <-busy })
		synctest.Wait()
		const packets = 10
		for range packets {
			socket.in <- registrationOf(t, packet.CIE{PrefixLength: 32, HoldingTime: 600})
			synctest.Wait()
		}
		close(busy)
		synctest.Wait()
		if got := len(socket.packets()) - before; got != packets {
			t.Errorf("%d of %d registrations were answered", got, packets)
		}
		// The first packet was read before the loop was free, the others after its turn.
		if got := socket.reads.Load() - reads; got != 2 {
			t.Errorf("the registrations were read in %d batches, want 2", got)
		}
		if got := socket.writes.Load() - writes; got != 2 {
			t.Errorf("the answers were sent in %d batches, want 2", got)
		}
	})
}

// blockedTables are tables whose After waits.
type blockedTables struct {
	platform.Tables
	release chan struct{}
}

func (t blockedTables) After(func()) { <-t.release }

// A call returns once the loop has carried out what followed from it. A caller may therefore go on
// with what has to come after, such as removing the profile of SAs that the engine has closed.
func TestCallReturnsOnceItsTurnHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tables := blockedTables{release: make(chan struct{})}
		log := slog.New(slog.DiscardHandler)
		e := engine.New(rand.New(rand.NewPCG(1, 2)), 1)
		l := newLoop(log, e, tables, fakeStrongswan{newWorld(t)})
		ctx, cancel := context.WithCancel(t.Context())
		go l.run(ctx)
		returned := make(chan error, 1)
		go func() {
			peer := engine.PeerKey{Interface: "gre1", ID: peerid.At(hubNBMA)}
			returned <- l.call(ctx, func(time.Time) { l.out.Closed = append(l.out.Closed, peer) })
		}()
		synctest.Wait()
		if len(returned) > 0 {
			t.Error("the call returned before its turn had ended")
		}
		close(tables.release)
		if err := <-returned; err != nil {
			t.Error(err)
		}
		cancel()
	})
}
