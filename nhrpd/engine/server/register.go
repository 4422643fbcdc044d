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
	if ours && srv.awaitsRuling(m) {
		return
	}
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
			if o.Kind != objection.Draining { // that is what the administrator wants
				srv.reportRefusal(m, cie, o.Text)
			}
		}
	}
	srv.replyToRegistration(m)
}

// RefuseFamily refuses a registration of an address of a family that the overlay does not have
// here. The client may have both families: without an answer, it could not tell this router from
// one that is gone.
func (srv *Server) RefuseFamily(m *overlay.Message) {
	if len(m.CIEs) == 0 || !m.SourceProtocol.IsValid() || !srv.Understood(m) {
		return
	}
	o := objection.Newf(objection.WrongFamily,
		"%s is not of the family of our overlay address %s: give address one of each family",
		m.SourceProtocol, srv.Address())
	for i := range m.CIEs {
		m.CIEs[i].Code, m.CIEs[i].HoldingTime = o.Code(), 0
	}
	srv.reportRefusal(m, &m.CIEs[0], o.Text)
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
			Peer:     m.From,
			Identity: srv.Peers.Identity(m.From),
			Reason:   "registration refused: " + reason,
		})
	}
}

// replyToRegistration turns the request into the reply (RFC 2332 §5.2.4) and sends the reply. A
// client behind NAT learns from it the address that this router sees.
func (srv *Server) replyToRegistration(m *overlay.Message) {
	for i := range m.CIEs {
		srv.CountServed(m.CIEs[i].Code)
	}
	m.Type = packet.RegistrationReply
	m.HopCount = overlay.HopCount
	if own := srv.AddressFor(m.SourceProtocol); own.IsValid() {
		m.DestProtocol = own
	}
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
//
// A router with addresses of both IP versions names the other one: it may go to and fro between
// them.
func (b *Binding) duplicate(m *overlay.Message) bool {
	srv := b.Server
	served, other := srv.Peers.ByID[b.Peer], srv.Peers.ByID[m.From]
	named := m.OtherNBMA()
	if named.IsValid() && (named == b.ClientNBMA || named == srv.Peers.Outer(b.Peer)) {
		return false
	}
	return srv.Config.Protected && b.before == m.From && served != nil && served.Secured &&
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
	case srv.Draining:
		return objection.New(objection.Draining, "this router asks its clients away")
	case !ok || !srv.HasFamily(client):
		return objection.New(objection.Malformed, "it has an impossible prefix")
	case srv.Peers.ObjectTo(m.From).Raised():
		return srv.Peers.ObjectTo(m.From)
	case client.Is6() && client.IsLinkLocalUnicast():
		return srv.objectToLinkLocal(m, client)
	case srv.isPrefix(m, client, prefix):
		return srv.Announced.registerPrefix(m, cie, srv.Bindings[m.SourceProtocol], prefix)
	}
	if o := srv.objectToAddress(m, cie, client); o.Raised() {
		return o
	}
	if o := srv.objectToTaking(m, client); o.Raised() {
		return o
	}
	if o := srv.objectByRuling(m, client); o.Raised() {
		return o
	}
	srv.renewBinding(m, cie, client)
	return objection.Objection{}
}

// isPrefix reports whether a registration is about a network behind the client, rather than about
// the overlay address client.
func (srv *Server) isPrefix(m *overlay.Message, client netip.Addr, prefix netip.Prefix) bool {
	return !prefix.IsSingleIP() || !srv.namesRouter(m, client) && srv.Config.TakesPrefixes()
}

// objectToLinkLocal objects to the registration of a link-local address, unless it is the one that
// follows from an overlay address of the sender: the sender has registered that address, or a rule
// gives it to the sender. Such a registration changes nothing, since the link-local address comes
// and goes with the overlay address. Cisco's routers register both.
func (srv *Server) objectToLinkLocal(m *overlay.Message, client netip.Addr) objection.Objection {
	router := srv.LinkLocals().Router(client)
	if router == client {
		return objection.Newf(objection.WrongAddress, "no overlay address here has the link-local "+
			"address %s: the overlay has to be an IPv6 range of /64 or longer, and a router's "+
			"link-local address has the last 64 bits of its overlay address", client)
	}
	b := srv.Bindings[router]
	switch {
	case b != nil && !b.Static && b.sameClient(m):
		return objection.Objection{}
	case b == nil && srv.Config.Policy != nil && !srv.Peers.ObjectToBeing(m.From, router).Raised():
		return objection.Objection{}
	}
	return objection.Newf(objection.WrongAddress, "the link-local address %s belongs to the "+
		"router with the overlay address %s, which this router has not registered: give its tunnel the "+
		"link-local address with the last 64 bits of its own overlay address", client, router)
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
	if b := srv.Bindings[client]; o.Raised() && b != nil && !b.Static && b.sameClient(m) {
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
	case !b.sameClient(m):
		return objection.New(
			objection.AddressTaken,
			"another router has the address: "+srv.Peers.Outer(b.Peer).String()+" "+b.Identity,
		)
	case b.duplicate(m):
		return objection.New(
			objection.Duplicate,
			"two routers have the identity "+b.Identity+
				" and this address; it is served at "+srv.Peers.Outer(b.Peer).String(),
		)
	}
	return objection.Objection{}
}

// objectToNewOwner objects to the registration of an address without a binding if the address
// belongs to another identity, or the sender has used up its share of addresses. An address that
// belongs to the sender counts in that share already.
func (srv *Server) objectToNewOwner(m *overlay.Message, client netip.Addr) objection.Objection {
	o := srv.Owners.ByAddress[client]
	if srv.Owners.OwnedByOther(m, client) {
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
		srv.Owners.end(client)
		b = srv.NewBinding(client)
		b.Identity = identity
		srv.Notice(output.Notice{
			Kind:     output.NoticeBound,
			Prefix:   overlay.HostPrefix(client),
			Peer:     m.From,
			Identity: b.Identity,
		})
	} else if srv.Peers.Outer(b.Peer) != srv.Peers.Outer(m.From) {
		srv.Notice(output.Notice{
			Kind:     output.NoticeMoved,
			Prefix:   overlay.HostPrefix(client),
			Peer:     m.From,
			Identity: b.Identity,
			Reason:   "it was at " + srv.Peers.Outer(b.Peer).String(),
		})
		b.noteTakenInTurn(m)
		b.before, b.movedAt = b.Peer, srv.Now
	}
	holding := max(time.Duration(cie.HoldingTime)*time.Second, LeastHolding)
	cie.HoldingTime = overlay.Seconds(holding)
	unique := m.Flags&packet.RegistrationUnique != 0
	if b.Unique != unique || b.Identity != identity || !slices.Equal(b.sharers, sharers) ||
		b.ClientNBMA != m.SourceNBMA || b.MTU != cie.MTU {
		srv.StateChanged()
	}
	b.Unique, b.Restored = unique, false
	if b.Holder == (overlay.Holder{}) || b.Identity != identity || identity == "" {
		b.SetHolder(overlay.HolderOf(identity, m.From))
	}
	if len(srv.Away.ByHolder) > 0 {
		srv.Away.end(b.Holder)
	}
	b.Identity, b.sharers = identity, sharers
	srv.uncertain.update(b)
	b.ClientNBMA = m.SourceNBMA
	b.MTU = cie.MTU
	b.Expires = srv.Now.Add(holding)
	srv.Timers.Set(&b.Expiry, b.Expires)
	b.noteRepeat(m, holding)
	srv.Mismatches.Clear(m.From, report.MismatchRefused)
	srv.Bind(b, m.From)
	srv.narrow(b)
}

// namesRouter reports whether a registration of a host prefix is about a router rather than about a
// network behind one. An address in the overlay's range is a router's. If the range is not known, a
// router registers only the address that it names as the packet's source.
func (srv *Server) namesRouter(m *overlay.Message, client netip.Addr) bool {
	if !srv.OverlayRange(client).IsValid() {
		return client == m.SourceProtocol
	}
	return srv.InOverlay(client)
}

// sameClient reports whether a registration comes from the router that a binding belongs to. With
// IPsec the identity that IKE proved decides. Without IPsec the NBMA address decides, but only if
// the client registered as unique.
func (b *Binding) sameClient(m *overlay.Message) bool {
	srv := b.Server
	if srv.Config.Protected {
		return b.MayBe(srv.Peers.Proven(m.From))
	}
	return b.Peer == m.From || !b.Unique
}

// meantForNHS reports whether a registration is for this NHS. It is if it names this router's
// overlay address, or one of the addresses that clients name when they do not know the NHS's.
func (srv *Server) meantForNHS(m *overlay.Message) bool {
	dest := m.DestProtocol
	return srv.IsOwn(dest) || dest == m.SourceProtocol || dest == srv.Broadcast(dest)
}

// clampMTU lowers the MTU that a client claims to the tunnel's MTU: Cisco's routers claim 17,916.
func (srv *Server) clampMTU(cie *packet.CIE) {
	if srv.Config.MTU != 0 {
		cie.MTU = min(cie.MTU, srv.Config.MTU)
	}
}

// objectToClientAddress objects to an overlay address that cannot be a client's here.
func (srv *Server) objectToClientAddress(client netip.Addr) objection.Objection {
	r := srv.OverlayRange(client)
	switch {
	case srv.IsOwn(client):
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

// noteRepeat records how often a client has repeated a registration that we answered a moment ago:
// the client has not received the answer. A refresh is no repetition: it has another request ID, or
// where a client uses the same ID again, it comes later.
func (b *Binding) noteRepeat(m *overlay.Message, holding time.Duration) {
	srv := b.Server
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
func (b *Binding) noteTakenInTurn(m *overlay.Message) {
	srv := b.Server
	if srv.Config.Protected {
		return
	}
	if b.before != m.From || srv.Now.Sub(b.movedAt) >= mismatch.Lifetime {
		return
	}
	reason := fmt.Sprintf("the routers at %s and %s register it in turn",
		srv.Peers.Outer(b.Peer), srv.Peers.Outer(m.From))
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
	if b == nil || !b.ClientNBMA.IsValid() || b.ClientNBMA == srv.Peers.Outer(b.Peer) {
		return
	}
	public := overlay.NATCIE(protocol, srv.Peers.Outer(b.Peer))
	if m.SourceNBMA.IsValid() && public.NBMA.Is4() != m.SourceNBMA.Is4() {
		return // all NBMA addresses in a packet are of one IP version
	}
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
	case i >= 0 && b.Peer == m.From:
		ext.CIEs[i].NBMA = public.NBMA
	}
}
