package server

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/mismatch"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// repeatsReported is after how many repetitions of a registration the engine reports a mismatch.
// Fewer may come from single packets that were lost.
const repeatsReported = 2

// LeastHolding is the shortest holding time that this router grants or accepts. Shorter ones in
// registrations are raised to it; answers with a shorter one are not used.
const LeastHolding = 10 * time.Second

// Registration handles a Registration Request (RFC 2332 §5.2.3). A request that names another NHS
// is refused rather than passed on, since that NHS could not see from which
// NBMA address it came.
func (srv *Server) Registration(m *overlay.Message) {
	if !srv.Understood(m) {
		return
	}
	if len(m.CIEs) == 0 || m.Flags&packet.RegistrationUnique != 0 && len(m.CIEs) > 1 ||
		!m.SourceNBMA.IsValid() {
		srv.Drop(overlay.DropMalformed)
		srv.SendError(m, packet.ErrorProtocol, overlay.FixedHeaderLen)
		return
	}
	ours := srv.meantForNHS(m)
	for i := range m.CIEs {
		cie := &m.CIEs[i]
		srv.clampMTU(cie)
		o := objection.New(objection.OtherNHS, "it names another NHS")
		if ours {
			o = srv.registerClient(m, cie)
		}
		cie.Code = o.Code()
		if o.Raised() {
			cie.HoldingTime = 0
			if o.Kind == objection.LimitReached {
				srv.Drop(overlay.DropTableFull)
			}
			srv.reportRefusal(m, cie, o.Text)
		}
	}
	srv.replyToRegistration(m)
}

// reportRefusal reports a refused registration as a mismatch and to the log. A client that tries
// again and again does not get a log entry each time.
func (srv *Server) reportRefusal(m *overlay.Message, cie *packet.CIE, reason string) {
	prefix, _ := cie.PrefixOf(m.ClientOf(cie))
	if prefix.IsSingleIP() || !prefix.IsValid() {
		srv.Mismatches.Record(
			report.MismatchRefused,
			m.From,
			m.ClientOf(cie),
			srv.Peers.Identity(m.From),
			reason,
		)
	}
	if srv.Limiters.Refusals.Allow(srv.Now, m.From) {
		srv.Notice(output.Notice{
			Kind:     output.NoticeRejected,
			Prefix:   prefix,
			NBMA:     m.From,
			Identity: srv.Peers.Identity(m.From),
			Reason:   "registration refused: " + reason,
		})
	}
}

// replyToRegistration turns the request into the reply (RFC 2332 §5.2.4) and sends the reply. A
// client behind NAT learns from it the address that this router sees.
func (srv *Server) replyToRegistration(m *overlay.Message) {
	m.Type = packet.RegistrationReply
	m.HopCount = overlay.HopCount
	m.DestProtocol = srv.Address()
	srv.FillResponder(m)
	ext := m.Extension(packet.ExtensionNATAddress)
	if ext != nil && !srv.Direct(m) && !overlay.NATAddress(m.Packet, m.SourceProtocol).IsValid() {
		ext.CIEs = srv.CIEList(ext.CIEs, overlay.NATCIE(m.SourceProtocol, srv.Peers.Outer(m.From)))
	}
	srv.Send(m.From, m.Packet)
}

// duplicate reports whether the sender of a registration is a second router with the identity and
// the overlay address of a client. That is the case if the registration comes from the address that
// the binding moved away from, and both addresses have had their SAs since then. This router serves
// the one of the two that registered last, while that one has its SA.
func (srv *Server) duplicate(b *Binding, from netip.Addr) bool {
	served, other := srv.Peers.ByNBMA[b.NBMA], srv.Peers.ByNBMA[from]
	return srv.Config.Protected && b.before == from && served != nil && served.Secured &&
		other != nil && other.Since.Before(b.movedAt)
}

// registerClient registers the address or prefix that one CIE of a registration names, or returns
// the objection to it.
func (srv *Server) registerClient(m *overlay.Message, cie *packet.CIE) objection.Objection {
	client := m.ClientOf(cie)
	prefix, ok := cie.PrefixOf(client)
	switch {
	case !srv.Config.Server:
		return objection.New(
			objection.ServiceOff,
			"this router takes no registrations (server is not set)",
		)
	case !ok || !srv.SameFamily(client):
		return objection.New(objection.Malformed, "it has an impossible prefix")
	case srv.Peers.ObjectTo(m.From).Raised():
		return srv.Peers.ObjectTo(m.From)
	case !prefix.IsSingleIP() || !srv.namesRouter(m, client) && srv.Config.TakesPrefixes():
		return srv.registerPrefix(m, cie, prefix)
	}
	if o := srv.objectToAddress(m, cie, client); o.Raised() {
		return o
	}
	if o := srv.objectToTaking(m, client); o.Raised() {
		return o
	}
	srv.renewBinding(m, cie, client)
	return objection.Objection{}
}

// objectToAddress objects to the registration of an address that the sender may not have, whoever
// has it now. If a route has come that the host route to a client would hide, the binding of that
// client ends.
func (srv *Server) objectToAddress(
	m *overlay.Message, cie *packet.CIE, client netip.Addr,
) objection.Objection {
	if o := srv.objectToClientAddress(client); o.Raised() {
		return o
	}
	if cie.NBMA.IsValid() && cie.NBMA != m.SourceNBMA && cie.NBMA != srv.Peers.Outer(m.From) {
		return objection.New(objection.OtherNBMA, "it is for somebody else's NBMA address")
	}
	if o := srv.Peers.ObjectToBeing(m.From, client); o.Raised() {
		return o
	}
	o := srv.Prefixes.ObjectToHostRoute(client, m.From)
	if b := srv.Bindings[client]; o.Raised() && b != nil && !b.Static && srv.sameClient(b, m) {
		srv.Unbind(b, o.Text)
	}
	return o
}

// objectToTaking objects to the registration of an address that another router has or owns, or for
// which there is no room.
func (srv *Server) objectToTaking(m *overlay.Message, client netip.Addr) objection.Objection {
	b := srv.Bindings[client]
	switch {
	case b == nil && len(srv.Bindings) >= srv.Config.Limits.Bindings:
		return objection.New(
			objection.LimitReached,
			"as many clients are registered as the configuration allows (limits.bindings)",
		)
	case b == nil && srv.Client.IsNHSElsewhere(client, m.From):
		return objection.New(objection.AddressOfNHS, "it is the address of an NHS of ours")
	case b == nil:
		return srv.objectToNewOwner(m, client)
	case b.Static:
		return objection.New(objection.AddressMapped, "a static map has the address")
	case !srv.sameClient(b, m):
		return objection.New(
			objection.AddressTaken,
			"another router has the address: "+srv.Peers.Outer(b.NBMA).String()+" "+b.Identity,
		)
	case srv.duplicate(b, m.From):
		return objection.New(
			objection.Duplicate,
			"two routers have the identity "+b.Identity+
				" and this address; it is served at "+srv.Peers.Outer(b.NBMA).String(),
		)
	}
	return objection.Objection{}
}

// objectToNewOwner objects to the registration of an address without a binding if the address
// belongs to another identity, or the sender has used up its share of addresses. An address that
// belongs to the sender counts in that share already.
func (srv *Server) objectToNewOwner(m *overlay.Message, client netip.Addr) objection.Objection {
	o := srv.Owners[client]
	if srv.OwnedByOther(m, client) {
		return objection.New(
			objection.AddressTaken,
			"the address belongs to another identity until its registration expires: "+o.Identity,
		)
	}
	if o != nil && srv.Peers.Proven(m.From).IsOneOf(o.Identity) {
		return objection.Objection{}
	}
	identity, _ := srv.Peers.BearerAt(m.From, client)
	if srv.AddressesOf[overlay.HolderOf(identity, m.From)] >= overlay.MaxAddressesOfOne {
		return objection.New(
			objection.LimitReached,
			"the router has registered as many addresses as one may",
		)
	}
	return objection.Objection{}
}

// renewBinding makes or renews the binding of a client whose registration there is no objection to.
// It writes the granted holding time into the CIE, which becomes that of the reply.
func (srv *Server) renewBinding(m *overlay.Message, cie *packet.CIE, client netip.Addr) {
	identity, sharers := srv.Peers.BearerAt(m.From, client)
	b := srv.Bindings[client]
	if b == nil {
		srv.endOwner(client)
		b = srv.NewBinding(client)
		b.Identity = identity
		srv.Notice(output.Notice{
			Kind:     output.NoticeBound,
			Prefix:   overlay.HostPrefix(client),
			NBMA:     m.From,
			Identity: b.Identity,
		})
	} else if srv.Peers.Outer(b.NBMA) != srv.Peers.Outer(m.From) {
		srv.Notice(output.Notice{
			Kind:     output.NoticeMoved,
			Prefix:   overlay.HostPrefix(client),
			NBMA:     m.From,
			Identity: b.Identity,
			Reason:   "it was at " + srv.Peers.Outer(b.NBMA).String(),
		})
		srv.noteTakenInTurn(m, b)
		b.before, b.movedAt = b.NBMA, srv.Now
	}
	holding := max(time.Duration(cie.HoldingTime)*time.Second, LeastHolding)
	cie.HoldingTime = overlay.Seconds(holding)
	unique := m.Flags&packet.RegistrationUnique != 0
	if b.Unique != unique || b.Identity != identity ||
		b.ClientNBMA != m.SourceNBMA || b.MTU != cie.MTU {
		srv.StateChanged()
	}
	b.Unique, b.Restored = unique, false
	if b.Holder == (overlay.Holder{}) || b.Identity != identity || identity == "" {
		b.SetHolder(overlay.HolderOf(identity, m.From))
	}
	if len(srv.Away) > 0 {
		srv.endAway(b.Holder)
	}
	b.Identity, b.sharers = identity, sharers
	srv.uncertain.update(b)
	b.ClientNBMA = m.SourceNBMA
	b.MTU = cie.MTU
	b.Expires = srv.Now.Add(holding)
	srv.Timers.Set(&b.Expiry, b.Expires)
	srv.noteRepeat(m, b, holding)
	srv.Mismatches.Clear(m.From, report.MismatchRefused)
	srv.Bind(b, m.From)
}

// namesRouter reports whether a registration of a host prefix is about a router rather than about a
// network behind one. An address in the overlay's range is a router's. If the range is not known, a
// router registers only the address that it names as the packet's source.
func (srv *Server) namesRouter(m *overlay.Message, client netip.Addr) bool {
	if !srv.OverlayRange().IsValid() {
		return client == m.SourceProtocol
	}
	return srv.InOverlay(client)
}

// sameClient reports whether a registration comes from the router that a binding belongs to. With
// IPsec the identity that IKE proved decides. Without IPsec the NBMA address decides, but only if
// the client registered as unique.
func (srv *Server) sameClient(b *Binding, m *overlay.Message) bool {
	if srv.Config.Protected {
		return b.MayBe(srv.Peers.Proven(m.From))
	}
	return b.NBMA == m.From || !b.Unique
}

// meantForNHS reports whether a registration is for this NHS. It is if it names this router's
// overlay address, or one of the addresses that clients name when they do not know the NHS's.
func (srv *Server) meantForNHS(m *overlay.Message) bool {
	dest := m.DestProtocol
	return dest == srv.Address() || dest == m.SourceProtocol || dest == srv.Broadcast()
}

// clampMTU lowers the MTU that a client claims to the tunnel's MTU: Cisco's routers claim 17,916.
func (srv *Server) clampMTU(cie *packet.CIE) {
	if srv.Config.MTU != 0 {
		cie.MTU = min(cie.MTU, srv.Config.MTU)
	}
}

// objectToClientAddress objects to an overlay address that cannot be a client's here.
func (srv *Server) objectToClientAddress(client netip.Addr) objection.Objection {
	r := srv.OverlayRange()
	switch {
	case client == srv.Address():
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
	case !srv.ClientAddress(client):
		return objection.Newf(
			objection.WrongAddress,
			"%s cannot be a router's address in the overlay",
			client,
		)
	case srv.Table().IsLocal(client):
		return objection.Newf(objection.WrongAddress, "%s is an address of this router", client)
	}
	return objection.Objection{}
}

// noteRepeat records how often a client has noteRepeat a registration that we answered a moment
// ago: the client has not received the answer. A refresh is no repetition: it has another request
// ID, or where a client uses the same ID again, it comes later.
func (srv *Server) noteRepeat(m *overlay.Message, b *Binding, holding time.Duration) {
	again := b.requestID == m.RequestID && b.registered.Add(holding/4).After(srv.Now)
	b.requestID, b.registered = m.RequestID, srv.Now
	switch {
	case !again:
		b.repeats = 0
		srv.Mismatches.Clear(m.From, report.MismatchDeaf)
	case b.repeats < repeatsReported:
		b.repeats++
	}
	if b.repeats == repeatsReported {
		srv.Mismatches.Record(report.MismatchDeaf, m.From, b.Protocol, b.Identity,
			"it repeats a registration that was answered")
	}
}

// noteTakenInTurn records that two routers register the same overlay address in turn. Only without
// IPsec can each take the address from the other, because then it belongs to no identity.
func (srv *Server) noteTakenInTurn(m *overlay.Message, b *Binding) {
	if srv.Config.Protected {
		return
	}
	if b.before != m.From || srv.Now.Sub(b.movedAt) >= mismatch.Lifetime {
		return
	}
	reason := fmt.Sprintf("the routers at %s and %s register it in turn",
		srv.Peers.Outer(b.NBMA), srv.Peers.Outer(m.From))
	srv.Mismatches.Record(report.MismatchTwice, m.From, b.Protocol, "", reason)
}

// FillNAT writes what we know about a client behind NAT into the NAT address extension of a packet
// that we forward. If the client sent the packet itself, FillNAT replaces the address that the
// client wrote there. That address may be from before the client's NAT changed: the client learns
// the new one with its next registration.
//
// As Cisco's hub does, FillNAT adds the extension to a packet that has none, if the NAT flag says
// that the requester understands it. Otherwise the packet would name only the client's private
// address.
func (srv *Server) FillNAT(m *overlay.Message, protocol netip.Addr) {
	b := srv.Bindings[protocol]
	if b == nil || !b.ClientNBMA.IsValid() || b.ClientNBMA == srv.Peers.Outer(b.NBMA) {
		return
	}
	public := overlay.NATCIE(protocol, srv.Peers.Outer(b.NBMA))
	ext := m.Extension(packet.ExtensionNATAddress)
	if ext == nil {
		if m.Flags&packet.FlagNAT != 0 {
			m.Extensions = append(m.Extensions, packet.Extension{
				Type: packet.ExtensionNATAddress, CIEs: srv.CIEList(nil, public)})
		}
		return
	}
	switch i := slices.IndexFunc(ext.CIEs,
		func(c packet.CIE) bool { return c.Protocol == protocol }); {
	case len(ext.CIEs) == 0:
		ext.CIEs = srv.CIEList(nil, public)
	case i >= 0 && b.NBMA == m.From:
		ext.CIEs[i].NBMA = public.NBMA
	}
}
