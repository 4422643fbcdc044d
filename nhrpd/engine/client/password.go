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
	for _, n := range cl.NHS {
		own := m.SourceProtocol == n.Protocol || m.SourceProtocol == cl.Address() ||
			!n.Protocol.IsValid()
		if n.NBMA != m.From || !own {
			continue
		}
		n.Registered, n.refused, n.err = false, true, reason
		cl.Parts.MoveRelaysFrom(n.NBMA)
		cl.forgetAnnouncement(n)
		if !n.awaiting {
			cl.registerIn(n, cl.retryWait(n.attempts))
		}
	}
}
