package resolution

import (
	"net/netip"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// wouldRefuse reports whether a Resolution Request for dest from the peer from would have no useful
// answer, and why. The path from here to dest is way; if there is none, fault is the reason.
//
// This router would refuse such a request, or answer it with itself. It must not indicate a shorter
// way then: the other router would ask, the answer would be no, and OpenNHRP never asks again after
// such an answer.
func wouldRefuse(
	from peerid.ID,
	dest netip.Addr,
	way neighbors.Path,
	fault neighbors.PathError,
) (overlay.DropReason, bool) {
	switch {
	case !dest.IsGlobalUnicast(), fault == neighbors.PathNoRoute, fault == neighbors.PathElsewhere:
		return overlay.DropUnreachable, true
	case fault == neighbors.PathNoBinding:
		return overlay.DropNoBinding, true
	case way.Peer == from && way.ByNHS:
		return overlay.DropNoBinding, true // the NHS that sent the packet here knows no way either
	case way.Peer == from:
		return overlay.DropLoop, true
	}
	return 0, false
}
