package engine

// passwordRefused follows when an NHS reports that it does not take our password, whichever
// request it says so about: it drops all our packets, so that we are not registered with it.
// Registrations go on, since the password may be corrected at either end.
//
// FRR's hub names us as the source of its error, not itself, so both names count. An error that a
// router behind the NHS reports is about the password between those two, not about ours.
func (e *Engine) passwordRefused(m *message, reason string) {
	ifc := m.ifc
	for _, n := range ifc.nhs {
		own := m.SourceProtocol == n.protocol || m.SourceProtocol == ifc.overlay() || !n.protocol.IsValid()
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
