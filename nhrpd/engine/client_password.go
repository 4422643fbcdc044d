package engine

// passwordRefused is called when an Error Indication says that a router does not take our password,
// whichever of our requests it is about. If an NHS sent the error, we are not registered with that
// NHS, since it drops all our packets. We go on registering: the password may be corrected at
// either end.
//
// FRR's hub names us as the source of the error instead of itself, so the engine takes either of
// the two for the NHS. An error that a router behind the NHS reports is about the password between
// that router and the NHS, not about ours.
func (e *Engine) passwordRefused(m *message, reason string) {
	ifc := m.ifc
	for _, n := range ifc.nhs {
		own := m.SourceProtocol == n.protocol || m.SourceProtocol == ifc.overlay() ||
			!n.protocol.IsValid()
		if n.nbma != m.from || !own {
			continue
		}
		n.registered, n.refused, n.err = false, true, reason
		e.moveRelaysFrom(ifc, n.nbma)
		e.forgetAnnouncement(n)
		if !n.awaiting {
			e.registerIn(n, e.retryWait(ifc, n.attempts))
		}
	}
}
