package translate

import (
	"net/netip"
	"testing"

	"cygnet/kernel/peerlink"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/peername"
	"cygnet/vici"
)

// What the engine, strongSwan and the kernel call a peer translates into each other without loss.
func TestPeersTranslate(t *testing.T) {
	nbma, six := netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8::11")
	names := peername.New([]peerlink.Left{{Name: xfrm.LinkedNBMA(6), Remote: six}})
	for _, test := range []struct {
		id      peerid.ID
		key     vici.Key
		address string // in the kernel
	}{
		{peerid.At(nbma), vici.Key{Interface: "gre1", NBMA: nbma}, "192.0.2.11"},
		{peerid.Marked(1), vici.Key{Interface: "gre1", Mark: 1}, "0.0.0.1"},
		{peerid.Marked(253<<16 | 7), vici.Key{Interface: "gre1", Mark: 253<<16 | 7}, "0.253.0.7"},
		{peerid.At(six), vici.Key{Interface: "gre1", NBMA: six}, "0.254.0.6"},
	} {
		if got := PeerID(test.key); got != test.id {
			t.Errorf("%+v is %s for the engine, want %s", test.key, got, test.id)
		}
		key := engine.PeerKey{Interface: "gre1", ID: test.id}
		if got := SAKey(key); got != test.key {
			t.Errorf("%s is %+v for strongSwan, want %+v", test.id, got, test.key)
		}
		if got := names.LinkAddress(test.id); got != netip.MustParseAddr(test.address) {
			t.Errorf("%s is %s for the kernel, want %s", test.id, got, test.address)
		}
		if got := names.PeerAt(names.LinkAddress(test.id)); got != test.id {
			t.Errorf("%s is %s when the kernel reports it", test.id, got)
		}
	}
}
