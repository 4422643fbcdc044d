package nhrpd

import (
	"testing"
	"testing/synctest"

	"cygnet/kernel/nhrpsocket"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/packet"
	"cygnet/vici"
)

// In phase 2 the neighbour alone leads to another router's overlay address. The engine wants no
// route for it, so the status shows none as missing.
func TestNoRouteIsMissingInPhase2(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		socket := w.socket(0)
		register(t, w, socket)
		w.misses <- clientOverlay
		synctest.Wait()
		w.events <- vici.Up{Peer: vici.Peer{
			Interface: "gre1",
			NBMA:      clientNBMA,
			Identity:  "spoke2.example.net",
		}}
		synctest.Wait()
		var p packet.Packet
		sent := socket.packets()
		if err := p.Parse(sent[len(sent)-1].Data); err != nil ||
			p.Type != packet.ResolutionRequest {
			t.Fatalf("sent %+v, %v", p, err)
		}
		p.Type = packet.ResolutionReply
		p.CIEs = []packet.CIE{{
			PrefixLength: 32,
			HoldingTime:  600,
			NBMA:         clientNBMA,
			Protocol:     clientOverlay,
		}}
		data, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		socket.in <- nhrpsocket.Message{NBMA: clientNBMA, Data: data}
		synctest.Wait()
		st, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if list := st.Interfaces[0].Shortcuts; len(list) != 1 ||
			list[0].State != api.ShortcutUp ||
			w.noted("add neighbour 10.255.0.12") < 0 {
			t.Fatalf("no shortcut: %+v, asked of the kernel: %q", list, w.record)
		}
		if len(st.Routes) != 0 {
			t.Errorf("routes %+v, though none was asked of the kernel: %q", st.Routes, w.record)
		}
	})
}
