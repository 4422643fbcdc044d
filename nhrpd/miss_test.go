package nhrpd

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/nhrpd/packet"
)

// If the kernel misses a neighbour, the daemon asks for it on the way to the hub. If it gets no
// answer, it has the kernel send the packets through the hub.
func TestMissReachesTheHub(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, _ *Daemon) {
		if !w.tunnels["gre1"].config.ResolveMisses {
			t.Error("the kernel is not told to ask for missing neighbours")
		}
		secureHub(w)
		socket := w.socket(0)
		register(t, w, socket)
		w.misses <- clientOverlay
		synctest.Wait()
		var p packet.Packet
		sent := socket.packets()
		last := sent[len(sent)-1]
		if err := p.Parse(last.Data); err != nil || p.Type != packet.ResolutionRequest ||
			p.DestProtocol != clientOverlay || last.NBMA != hubNBMA {
			t.Fatalf("sent to %s: %+v, %v", last.NBMA, p, err)
		}
		time.Sleep(3 * time.Second) // of virtual time
		synctest.Wait()
		if w.noted("add neighbour 10.255.0.12") < 0 {
			t.Errorf("packets would wait for ever: %q", w.record)
		}
	})
}

// A router that makes no shortcuts leaves missing neighbours to the kernel.
func TestNoMissesWithoutShortcut(t *testing.T) {
	toml := strings.Replace(spokeToml, "shortcut = true", "shortcut = false", 1)
	inWorldOf(t, []byte(toml), func(t *testing.T, w *world, _ *Daemon) {
		secureHub(w)
		select {
		case w.misses <- clientOverlay:
			t.Error("somebody waits for misses")
		default:
		}
		if w.tunnels["gre1"].config.ResolveMisses {
			t.Error("the kernel is told to ask for missing neighbours")
		}
	})
}
