package peers

import (
	"net/netip"
	"testing"

	"cygnet/nhrpd/engine/peerid"
)

// A restored peer is used only if its outer address can be a router's. Packets for a marked peer go
// there again; a parked one gets none.
func TestRestoreOuter(t *testing.T) {
	none := netip.Addr{}
	for _, tt := range []struct {
		rule   string
		id     peerid.ID
		outer  netip.Addr
		usable bool
		routed bool // the kernel sends the peer's packets to outer
	}{
		{"a peer with an address of its own", direct, direct.Address(), true, false},
		{"the address says it all", direct, none, true, false},
		{"a marked peer", id1, nat, true, true},
		{"a parked peer", peerid.Parked(1), nat, true, false},
		{"a marked peer nobody knows where", id1, none, false, false},
		{"a parked peer nobody knows where", peerid.Parked(1), none, false, false},
		{"a marked peer at a mark's address", id1, addr("0.0.0.5"), false, false},
		{"a mark's address", peerid.At(addr("0.0.0.5")), addr("0.0.0.5"), false, false},
		{"a group's address", peerid.At(addr("224.0.0.5")), addr("224.0.0.5"), false, false},
		{"no peer", peerid.ID{}, nat, false, false},
	} {
		w := newWorld(t)
		if got := w.RestoreOuter(tt.id, tt.outer); got != tt.usable {
			t.Errorf("%s: usable %t, want %t", tt.rule, got, tt.usable)
		}
		if tt.usable && tt.id.Shares() {
			w.reason(tt.id, ForBinding, false) // otherwise nothing needs the peer
			if w.Outer(tt.id) != nat || len(w.Addresses.Behind(nat)) != 1 {
				t.Errorf("%s: the outer address is %v, want %s", tt.rule, w.Outer(tt.id), nat)
			}
		}
		if got := w.marked()[tt.id] == nat; got != tt.routed {
			t.Errorf("%s: its packets go to %v, want them sent: %t", tt.rule, w.marked(), tt.routed)
		}
	}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
