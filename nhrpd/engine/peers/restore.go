package peers

import (
	"net/netip"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// RestoreOuter restores the outer address of a peer that was saved before a restart. It reports
// whether the peer can be used: a peer that shares its address has no other source of it.
func (ps *Table) RestoreOuter(id peerid.ID, outer netip.Addr) bool {
	if !id.Shares() {
		return overlay.UsableNBMA(id.Address())
	}
	if !overlay.UsableNBMA(outer) {
		return false
	}
	p := ps.At(id)
	ps.Addresses.record(p, outer)
	ps.routeTo(p, outer)
	return true
}
