package client

import "cygnet/nhrpd/engine/overlay"

// PasswordRefused handles an Error Indication that says that a router does not take our password,
// whichever of our requests it is about. If an NHS sent the error, we are not registered with that
// NHS, since it drops all our packets. We go on registering: the password may be corrected at
// either end.
//
// FRR's hub names us as the source of the error instead of itself, so the engine takes either of
// the two for the NHS. An error that a router behind the NHS reports is about the password between
// that router and the NHS, not about ours.
func (cl *Client) PasswordRefused(m *overlay.Message, reason string) {
	for r := range cl.registrations() {
		own := m.SourceProtocol == r.Protocol || m.SourceProtocol == r.own ||
			!r.Protocol.IsValid()
		if r.ID() != m.From || !own {
			continue
		}
		r.Registered, r.refused, r.err = false, true, reason
		cl.Parts.MoveRelaysFrom(r.ID())
		r.forgetAnnouncement()
		r.fail()
		if !r.awaiting {
			r.registerIn(cl.retryWait(r.attempts))
		}
	}
}
