package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/packet"
)

// leastHolding is the shortest holding time that this router grants or accepts. Shorter ones in
// registrations are raised to it; answers with a shorter one are not used.
const leastHolding = 10 * time.Second

// registration handles a registration request (RFC 2332 §5.2.3). A request that names another NHS
// is refused rather than passed on, since that NHS could not see from where it came.
func (e *Engine) registration(m *message) {
	if !e.understood(m) {
		return
	}
	if len(m.CIEs) == 0 || m.Flags&packet.RegistrationUnique != 0 && len(m.CIEs) > 1 ||
		!m.SourceNBMA.IsValid() {
		e.drop(dropMalformed)
		e.sendError(m, packet.ErrorProtocol, fixedLen)
		return
	}
	ours := m.ifc.meantForNHS(m)
	for i := range m.CIEs {
		cie := &m.CIEs[i]
		m.ifc.clampMTU(cie)
		o := objection.New(objection.OtherNHS, "it names another NHS")
		if ours {
			o = e.registerClient(m, cie)
		}
		cie.Code = o.Code()
		if o.Raised() {
			cie.HoldingTime = 0
			if o.Kind == objection.LimitReached {
				e.drop(dropTableFull)
			}
			e.tellRefusal(m, cie, o.Text)
		}
	}
	e.replyToRegistration(m)
}

// tellRefusal reports a refused registration as a mismatch and to the log. A client that tries
// again and again does not get a log entry each time.
func (e *Engine) tellRefusal(m *message, cie *packet.CIE, reason string) {
	prefix, _ := cie.PrefixOf(m.clientOf(cie))
	if prefix.IsSingleIP() || !prefix.IsValid() {
		e.complain(m.ifc, MismatchRefused, m.from, m.clientOf(cie), m.identity(), reason)
	}
	if m.ifc.limits.refusals.Allow(e.now, m.from) {
		e.notice(m.ifc, Notice{
			Kind:     NoticeRejected,
			Prefix:   prefix,
			NBMA:     m.from,
			Identity: m.identity(),
			Reason:   "registration refused: " + reason,
		})
	}
}

// replyToRegistration turns the request into the reply (RFC 2332 §5.2.4) and sends the reply. A
// client behind NAT learns from it the address that this router sees.
func (e *Engine) replyToRegistration(m *message) {
	m.Type = packet.RegistrationReply
	m.HopCount = hopCount
	m.DestProtocol = m.ifc.overlay()
	e.fillResponder(m)
	ext := m.Extension(packet.ExtensionNATAddress)
	if ext != nil && !m.direct() && !natAddress(m.Packet, m.SourceProtocol).IsValid() {
		ext.CIEs = e.cieList(ext.CIEs, natCIE(m.SourceProtocol, m.ifc.real(m.from)))
	}
	e.send(m.ifc, m.from, m.Packet)
}

// clientOf returns the overlay address that a CIE of a registration or purge is about.
func (m *message) clientOf(cie *packet.CIE) netip.Addr {
	if cie.Protocol.IsValid() {
		return cie.Protocol
	}
	return m.SourceProtocol
}

// identity returns the sender's identity, as IKE proved it. It is empty without IPsec.
func (m *message) identity() string { return m.proven().Identity }

// proven returns all that IKE proved about the sender.
func (m *message) proven() Peer {
	if p := m.ifc.peers[m.from]; p != nil {
		return p.ike
	}
	return Peer{}
}

// bearer returns the identity that an overlay address is registered for: one of those at the
// sender's address that may have the overlay address. It also returns the other identities there.
func (m *message) bearer(protocol netip.Addr) (identity string, others []string) {
	if p := m.ifc.peers[m.from]; p != nil {
		return p.bearer(protocol)
	}
	return "", nil
}

// twin reports whether the sender of a registration is a second router with the same identity and
// overlay address. It is if the registration comes from the address that the binding moved away
// from, and both addresses have had their SAs all the time. This router serves the one of the two
// that came last, while that one is there.
func (ifc *iface) twin(b *binding, from netip.Addr) bool {
	served, other := ifc.peers[b.nbma], ifc.peers[from]
	return ifc.cfg.Protected && b.before == from && served != nil && served.secured &&
		other != nil && other.since.Before(b.movedAt)
}

// registerClient registers the address or prefix that one CIE names, or returns the objection to
// it.
func (e *Engine) registerClient(m *message, cie *packet.CIE) objection.Objection {
	ifc, client := m.ifc, m.clientOf(cie)
	prefix, ok := cie.PrefixOf(client)
	switch {
	case !ifc.cfg.Server:
		return objection.New(
			objection.ServiceOff,
			"this router takes no registrations (server is not set)",
		)
	case !ok || !ifc.onOverlay(client):
		return objection.New(objection.Malformed, "it has an impossible prefix")
	case ifc.objectTo(m.from).Raised():
		return ifc.objectTo(m.from)
	case !prefix.IsSingleIP() || !ifc.namesRouter(m, client) && ifc.cfg.takesPrefixes():
		return e.registerPrefix(m, cie, prefix)
	case e.objectToClientAddress(ifc, client).Raised():
		return e.objectToClientAddress(ifc, client)
	case cie.NBMA.IsValid() && cie.NBMA != m.SourceNBMA && cie.NBMA != ifc.real(m.from):
		return objection.New(objection.OtherNBMA, "it is for somebody else's NBMA address")
	}
	if o := ifc.objectToBeing(m.from, client); o.Raised() {
		return o
	}
	b := ifc.bindings[client]
	if o := e.objectToHostRoute(ifc, client, m.from); o.Raised() {
		if b != nil && !b.static && ifc.sameClient(b, m) {
			e.unbind(b, o.Text)
		}
		return o
	}
	unique := m.Flags&packet.RegistrationUnique != 0
	switch {
	case b == nil && len(ifc.bindings) >= ifc.cfg.Limits.Bindings:
		return objection.New(
			objection.LimitReached,
			"as many clients are registered as the configuration allows (limits.bindings)",
		)
	case b == nil && ifc.isNHSElsewhere(client, m.from):
		return objection.New(objection.AddressOfNHS, "it is the address of an NHS of ours")
	case b != nil && b.static:
		return objection.New(objection.AddressMapped, "a static map has the address")
	case b != nil && !ifc.sameClient(b, m):
		return objection.New(
			objection.AddressTaken,
			"another router has the address: "+ifc.real(b.nbma).String()+" "+b.identity,
		)
	case b != nil && ifc.twin(b, m.from):
		return objection.New(
			objection.Duplicate,
			"two routers have the identity "+b.identity+
				" and this address; it is served at "+ifc.real(b.nbma).String(),
		)
	}
	o, owned := e.ownedByOther(m, client)
	if b == nil && owned {
		return objection.New(
			objection.AddressTaken,
			"the address belongs to another identity until its registration expires: "+o.identity,
		)
	}
	identity, sharers := m.bearer(client)
	if b == nil {
		if mine := o != nil && m.proven().isOneOf(o.identity); !mine &&
			ifc.addressesOf[holderOf(identity, m.from)] >= maxAddressesOfOne {
			return objection.New(
				objection.LimitReached,
				"the router has registered as many addresses as one may",
			)
		}
		e.endOwner(ifc, client)
		b = e.newBinding(ifc, client)
		b.identity = identity
		e.notice(ifc, Notice{
			Kind:     NoticeBound,
			Prefix:   hostPrefix(client),
			NBMA:     m.from,
			Identity: b.identity,
		})
	} else if ifc.real(b.nbma) != ifc.real(m.from) {
		e.notice(ifc, Notice{
			Kind:     NoticeMoved,
			Prefix:   hostPrefix(client),
			NBMA:     m.from,
			Identity: b.identity,
			Reason:   "it was at " + ifc.real(b.nbma).String(),
		})
		e.registeredInTurn(m, b)
		b.before, b.movedAt = b.nbma, e.now
	}
	holding := max(time.Duration(cie.HoldingTime)*time.Second, leastHolding)
	cie.HoldingTime = seconds(holding)
	b.unique, b.restored = unique, false
	if b.holder == (holder{}) || b.identity != identity || identity == "" {
		b.setHolder(holderOf(identity, m.from))
	}
	if len(ifc.away) > 0 {
		e.endAway(ifc, b.holder)
	}
	b.identity, b.sharers = identity, sharers
	ifc.uncertain.note(b)
	b.clientNBMA = m.SourceNBMA
	b.mtu = cie.MTU
	b.expires = e.now.Add(holding)
	e.timers.Set(&b.expiry, b.expires)
	e.repeated(m, b, holding)
	ifc.settled(m.from, MismatchRefused)
	e.bind(b, m.from)
	return objection.Objection{}
}

// namesRouter reports whether a registration of a host prefix is about a router rather than about a
// network behind one. An address in the overlay's range is a router's. If the range is not known, a
// router registers only the address that it names as the packet's source.
func (ifc *iface) namesRouter(m *message, client netip.Addr) bool {
	if !ifc.overlayRange().IsValid() {
		return client == m.SourceProtocol
	}
	return ifc.inOverlay(client)
}

// isNHSElsewhere reports whether an overlay address is that of one of this router's NHSs, and the
// NHS is not at that NBMA address.
func (ifc *iface) isNHSElsewhere(protocol, nbma netip.Addr) bool {
	return slices.ContainsFunc(ifc.nhs, func(n *nhs) bool {
		return n.protocol == protocol && n.nbma != nbma
	})
}

// sameClient reports whether a registration comes from the router that has the binding. With IPsec
// the identity that IKE proved decides. Without IPsec the NBMA address decides, but only if the
// client registered as unique.
func (ifc *iface) sameClient(b *binding, m *message) bool {
	if ifc.cfg.Protected {
		return b.mayBe(m.proven())
	}
	return b.nbma == m.from || !b.unique
}

// meantForNHS reports whether a registration is for this NHS. It is if it names this router's
// overlay address, or one of the addresses that clients name when they do not know the NHS's.
func (ifc *iface) meantForNHS(m *message) bool {
	dest := m.DestProtocol
	return dest == ifc.overlay() || dest == m.SourceProtocol || dest == ifc.broadcast()
}

// clampMTU lowers the MTU that a client claims to the tunnel's MTU: Cisco's routers claim 17,916.
func (ifc *iface) clampMTU(cie *packet.CIE) {
	if ifc.cfg.MTU != 0 {
		cie.MTU = min(cie.MTU, ifc.cfg.MTU)
	}
}

// objectToClientAddress objects to an overlay address that cannot be a client's here.
func (e *Engine) objectToClientAddress(ifc *iface, client netip.Addr) objection.Objection {
	r := ifc.overlayRange()
	switch {
	case client == ifc.overlay():
		return objection.Newf(
			objection.WrongAddress,
			"the overlay address %s is ours: each router needs its own",
			client,
		)
	case r.IsValid() && !r.Contains(client):
		return objection.Newf(
			objection.WrongAddress,
			"%s is outside our overlay %s: compare address and overlay of both routers",
			client, r,
		)
	case !ifc.clientAddress(client):
		return objection.Newf(
			objection.WrongAddress,
			"%s cannot be a router's address in the overlay",
			client,
		)
	case e.table(ifc).IsLocal(client):
		return objection.Newf(objection.WrongAddress, "%s is an address of this router", client)
	}
	return objection.Objection{}
}
