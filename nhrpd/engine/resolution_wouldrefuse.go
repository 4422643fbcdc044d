package engine

import "net/netip"

// wouldRefuse reports whether a resolution request for dest from the router at an NBMA address
// would lead to no shorter way, and why, given the path to dest from here: it would be refused,
// or answered with this router itself. To indicate a shorter way to that router would invite a
// question with no as its answer, and OpenNHRP never asks again after one.
func wouldRefuse(from, dest netip.Addr, way path, fault pathError) (dropReason, bool) {
	switch {
	case !dest.IsGlobalUnicast(), fault == pathNoRoute, fault == pathElsewhere:
		return dropUnreachable, true
	case fault == pathNoBinding:
		return dropNoBinding, true
	case way.nbma == from && way.byNHS:
		return dropNoBinding, true // the NHS that sent it here knows no better
	case way.nbma == from:
		return dropLoop, true
	}
	return 0, false
}
