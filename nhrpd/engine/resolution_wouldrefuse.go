package engine

import "net/netip"

// wouldRefuse reports whether a resolution request for dest from the router at an NBMA address
// would lead to no shorter way, and why. The path to dest from here is way, or fault says why there
// is none. Such a request would be refused, or this router would answer it with itself. This router
// must not indicate a shorter way then: the other would ask, the answer would be no, and OpenNHRP
// never asks again after such an answer.
func wouldRefuse(from, dest netip.Addr, way path, fault pathError) (dropReason, bool) {
	switch {
	case !dest.IsGlobalUnicast(), fault == pathNoRoute, fault == pathElsewhere:
		return dropUnreachable, true
	case fault == pathNoBinding:
		return dropNoBinding, true
	case way.nbma == from && way.byNHS:
		return dropNoBinding, true // the NHS that sent the packet here knows no way either
	case way.nbma == from:
		return dropLoop, true
	}
	return 0, false
}
