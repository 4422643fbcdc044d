package nhrpd

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"cygnet/kernel/nhrpsocket"
	"cygnet/nhrpd/packet"
	"cygnet/vici"
)

// The client is another spoke, which registers with the daemon under test.
var (
	clientNBMA    = netip.MustParseAddr("192.0.2.12")
	clientOverlay = netip.MustParseAddr("10.255.0.12")
)

// registrationOf returns a client's registration of its address or of a prefix.
func registrationOf(t *testing.T, cie packet.CIE) nhrpsocket.Message {
	t.Helper()
	p := packet.Packet{
		Type:           packet.RegistrationRequest,
		HopCount:       255,
		RequestID:      1,
		SourceNBMA:     clientNBMA,
		SourceProtocol: clientOverlay,
		DestProtocol:   clientOverlay,
		CIEs:           []packet.CIE{cie},
	}
	data, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return nhrpsocket.Message{NBMA: clientNBMA, Data: data}
}

// A prefix that a client announces becomes a route in the kernel, and the status shows it. The
// daemon announces a prefix of its own to the hub.
func TestPrefixesReachKernelAndStatus(t *testing.T) {
	toml := strings.Replace(
		spokeToml,
		"shortcut = true\n",
		"shortcut = true\nannounce = [\"172.16.1.0/24\"]\naccept = [\"172.16.0.0/12\"]\n",
		1)
	inWorldOf(t, []byte(toml), func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		socket := w.socket(0)
		register(t, w, socket)
		var announced packet.Packet
		sent := socket.packets()
		if err := announced.Parse(sent[len(sent)-1].Data); err != nil ||
			announced.Type != packet.RegistrationRequest ||
			len(announced.CIEs) != 1 ||
			announced.CIEs[0].Protocol != netip.MustParseAddr("172.16.1.0") ||
			announced.CIEs[0].PrefixLength != 24 {
			t.Errorf("after the registration of its address the spoke sent %+v, %v", announced, err)
		}

		w.events <- vici.Up{Peer: vici.Peer{
			Interface: "gre1",
			NBMA:      clientNBMA,
			Identity:  "spoke2.example.net",
		}}
		synctest.Wait()
		socket.in <- registrationOf(t, packet.CIE{PrefixLength: 32, HoldingTime: 600})
		socket.in <- registrationOf(t, packet.CIE{
			PrefixLength: 24,
			HoldingTime:  600,
			Protocol:     netip.MustParseAddr("172.16.2.0"),
		})
		synctest.Wait()
		neighbor, route := w.noted("add neighbour 10.255.0.12"),
			w.noted("add route 172.16.2.0/24")
		if neighbor < 0 || route < neighbor {
			t.Fatalf("asked of the kernel: %q", w.record)
		}
		st, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if b := st.Bindings(); len(b) != 1 || len(b[0].Prefixes) != 1 ||
			b[0].Prefixes[0].String() != "172.16.2.0/24" {
			t.Errorf("bindings %+v", b)
		}
		if len(st.Routes) != 1 ||
			st.Routes[0].Prefix.String() != "172.16.2.0/24" ||
			st.Routes[0].NextHop != clientOverlay {
			t.Errorf("routes %+v", st.Routes)
		}

		w.events <- vici.Down{
			Key:    vici.Key{Interface: "gre1", NBMA: clientNBMA},
			Reason: "dead peer",
		}
		synctest.Wait()
		if w.noted("delete route 172.16.2.0/24") < 0 {
			t.Errorf("the route outlives the SA: %q", w.record)
		}
	})
}
