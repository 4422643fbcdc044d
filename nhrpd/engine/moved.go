package engine

import (
	"net/netip"
	"slices"
)

// movedRoute is a route of ours that look-ups see and that came or went during a call.
type movedRoute struct {
	table  uint32
	prefix netip.Prefix
}

// fewMoved is how many routes are looked at one by one; when more moved, everything is decided anew.
const fewMoved = 64

// routeMoved has what rests on a route decided anew at the end of the call: in its middle a packet is being handled.
func (e *Engine) routeMoved(table uint32, prefix netip.Prefix) {
	e.moved = append(e.moved, movedRoute{table, prefix})
}

// finish ends a call.
func (e *Engine) finish() {
	for len(e.revoking) > 0 {
		revoking := e.revoking
		e.revoking = nil
		for _, ifc := range revoking {
			e.tellRevoked(ifc)
		}
	}
	for len(e.moved) > 0 {
		moved := e.moved
		e.moved = nil
		for _, ifc := range e.interfaces() {
			if ifc.left {
				continue
			}
			touched := func(p netip.Prefix) bool {
				return len(moved) > fewMoved || slices.ContainsFunc(moved, func(m movedRoute) bool {
					return m.table == ifc.cfg.Table && m.prefix.Overlaps(p)
				})
			}
			e.reroute(ifc, touched)
		}
	}
}
