package engine

import (
	"cygnet/nhrpd/engine/inquiry"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/packet"
)

// registrationReleased handles a registration that was held until the authorizer ruled. It was
// checked, and counted against its sender's rate, when it came. The sender may have gone since.
func (ifc *iface) registrationReleased(from peerid.ID, data []byte) {
	m, err := ifc.Parse(from, data)
	switch {
	case ifc.Left || !ifc.Local.IsValid():
		ifc.Drop(overlay.DropInactive)
	case !ifc.peers.Secured(from):
		ifc.Drop(overlay.DropUnsecured)
	case ifc.peers.Separations.Separating(from):
		ifc.Drop(overlay.DropSeparating)
	case err != nil || m.Type != packet.RegistrationRequest:
		ifc.Drop(overlay.DropMalformed)
	default:
		ifc.server.Registration(&m)
	}
}

// ruled applies a new ruling about a registered client. A client that may not stay loses its
// registration as by a block, but keeps its SA: the reply to its next registration tells it why.
func (ifc *iface) ruled(s inquiry.Subject, r *inquiry.Ruling) {
	b, o := ifc.server.Ruled(s, r)
	if !o.Raised() {
		return
	}
	goodbye := ifc.takingBack(b)
	ifc.server.Revoke(b, o.Text)
	ifc.purges.TellRevoked(goodbye)
}
