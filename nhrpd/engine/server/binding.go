package server

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/inquiry"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/timers"
)

// Binding is an entry of the server's cache: a client that registered, or a static map. A static
// map has no holder, no identity and no time.
type Binding struct {
	peers.Unaffected

	// Server is the server that has the binding.
	Server *Server
	// Protocol is the overlay address.
	Protocol netip.Addr
	// Peer is where packets go: the router that registered, as this router sees it.
	Peer peerid.ID
	// ClientNBMA is the NBMA address that the client gives. Behind NAT it differs from the outer
	// address.
	ClientNBMA netip.Addr
	// Identity is what IKE proved of the client. It is empty without IPsec.
	Identity string
	// Holder is the router against whose shares the binding counts: see SetHolder.
	Holder overlay.Holder

	// sharers are the further identities that were at the client's address when it registered last.
	// The binding may belong to any of them.
	sharers []string
	// asked are those of Identity and sharers that had to register again since: see
	// ConfirmWhereItIs.
	asked []string

	// Static reports whether the binding is a static map.
	Static bool
	// Unique reports whether the client registered with the U flag (RFC 2332 §5.2.0.1).
	Unique bool
	// Restored reports whether the binding is from before a restart, and its client has not had an
	// SA since.
	Restored bool
	// MTU is the MTU that the client gives.
	MTU uint16
	// Expires is when the registration expires. Expiry ends the binding then.
	Expires time.Time
	Expiry  timers.Timer
	// Prefixes are the prefixes that the client announced.
	Prefixes []*Announced
	// Routed reports whether routes to Prefixes are wanted.
	Routed bool
	// Ref is the reference to Peer.
	Ref peers.Ref

	since      time.Time // when the client registered first
	before     peerid.ID // the peer that the client moved away from, at movedAt
	movedAt    time.Time
	requestID  uint32    // of the last registration
	registered time.Time // when the last registration came
	repeats    int       // how often the client repeated it although it was answered

	ruling *inquiry.Ruling // of the authorizer, by which the binding is narrowed; nil: none

	neighbor  neighbors.Claim
	admission admission.Reason
}

// NewBinding makes a binding of an overlay address that has none. The caller sets its fields, and
// binds it to a peer by Bind.
func (srv *Server) NewBinding(protocol netip.Addr) *Binding {
	b := srv.pool.Take()
	b.Server, b.Protocol, b.since = srv, protocol, srv.Now
	b.Ref.Owner = b
	b.Expiry.Run = func() { srv.Unbind(b, "not refreshed within its holding time") }
	srv.Bindings[protocol] = b
	return b
}

// Bind sets where a binding leads to. The neighbour is wanted, and its data is admitted.
func (srv *Server) Bind(b *Binding, id peerid.ID) {
	moved := b.Peer != id && !b.Static
	if moved {
		srv.StateChanged()
	}
	before := b.Ref.Peer
	b.Peer = id
	if b.Ref.Peer == nil || b.Ref.Peer.ID != id {
		srv.Peers.Refer(&b.Ref, srv.Peers.At(id), peers.ForBinding, false)
	}
	srv.Admissions.Admit(&b.admission, id, admission.As{})
	rank := neighbors.RankBinding
	if b.Static {
		rank = neighbors.RankMap
	}
	srv.Neighbors.Want(&b.neighbor, rank, b.Protocol, id)
	srv.Announced.routePrefixes(b)
	if moved && srv.Inquiries.On() {
		srv.narrow(b)
		srv.reviseDirect(before)
	}
}

// Unbind ends a client's binding, and logs the reason. It leaves a static map alone.
func (srv *Server) Unbind(b *Binding, reason string) {
	if b.Static {
		return
	}
	srv.Notice(output.Notice{
		Kind:     output.NoticeUnbound,
		Prefix:   overlay.HostPrefix(b.Protocol),
		Peer:     b.Peer,
		Identity: b.Identity,
		Reason:   reason,
	})
	srv.DropBinding(b)
}

// DropBinding ends a binding, or a static map, with all its prefixes. The client counts as away
// from then on.
func (srv *Server) DropBinding(b *Binding) {
	if !b.Static {
		srv.StateChanged()
	}
	for _, a := range slices.Clone(b.Prefixes) {
		srv.Announced.drop(a)
	}
	delete(srv.Bindings, b.Protocol)
	delete(srv.uncertain, b.Protocol)
	if b.Holder != (overlay.Holder{}) {
		srv.AddressesOf.GiveBack(b.Holder, 1)
		srv.Away.mark(b)
	}
	srv.Timers.Stop(&b.Expiry)
	srv.Neighbors.Withdraw(&b.neighbor)
	srv.Admissions.Dismiss(&b.admission)
	p := b.Ref.Peer
	srv.Peers.Release(&b.Ref)
	if b.ruling != nil {
		srv.reviseDirect(p)
	}
}

// DropAll ends all bindings, and forgets who owned addresses and who is away.
func (srv *Server) DropAll() {
	for _, b := range ordered.Values(srv.Bindings, ordered.ByAddr) {
		srv.DropBinding(b)
	}
	srv.Owners.endAll()
	srv.Away.endAll()
}

// SetHolder counts a binding and its prefixes against the shares of h, and no longer against those
// of the holder before.
func (b *Binding) SetHolder(h overlay.Holder) {
	switch {
	case b.Holder == h:
		return
	case b.Holder == (overlay.Holder{}):
		b.Server.AddressesOf.Take(h)
		b.Server.Announced.Shares.Move(overlay.Holder{}, h, len(b.Prefixes))
	default:
		b.Server.AddressesOf.Move(b.Holder, h, 1)
		b.Server.Announced.Shares.Move(b.Holder, h, len(b.Prefixes))
	}
	b.Holder = h
}

// PeerSecured uses the binding again if its client is at the address now. If another router is
// there, or the rules no longer allow the binding, it ends.
func (b *Binding) PeerSecured() {
	if !b.Static && !b.MayBe(b.Ref.Peer.IKE) {
		b.Server.Owners.ReserveForOwner(b)
		b.Server.Unbind(
			b,
			"another identity has the client's NBMA address now: "+b.Ref.Peer.IKE.Identity,
		)
		return
	}
	if o := b.Server.Peers.ObjectToBeing(b.Peer, b.Protocol); !b.Static && o.Raised() {
		b.Server.Revoke(b, o.Text)
		return
	}
	b.Restored = false
	b.Server.Announced.routePrefixes(b)
}

// PeerLost takes back the routes to the client's prefixes until the peer is back or lost for good:
// the networks behind the client may have another way meanwhile. If only the strongSwan here was
// restarted, the kernel's SAs go on, and so do the routes.
func (b *Binding) PeerLost(_ string) {
	if !b.Ref.Peer.Unlisted {
		b.Server.Announced.unroutePrefixes(b)
	}
}

// PeerCutOff takes back the routes to the client's prefixes until the client is back: the networks
// behind it may have another way meanwhile.
func (b *Binding) PeerCutOff() { b.Server.Announced.unroutePrefixes(b) }

// PeerLostForGood ends the binding. The overlay address stays the identity's own until the
// registration expires.
func (b *Binding) PeerLostForGood() {
	b.Server.Owners.ReserveForOwner(b)
	b.Server.Unbind(b, "no SA with the client any more")
}

// PeerMoved follows a client, with its registration, to another NBMA address.
func (b *Binding) PeerMoved(to *peers.Peer, before netip.Addr) {
	if b.Static || b.Identity != to.IKE.Identity {
		return
	}
	b.Server.Bind(b, to.ID)
	b.Restored = false
	if before == b.Server.Peers.Outer(to.ID) {
		return
	}
	b.Server.Notice(
		output.Notice{
			Kind:     output.NoticeMoved,
			Prefix:   overlay.HostPrefix(b.Protocol),
			Peer:     to.ID,
			Identity: b.Identity,
			Reason:   "it was at " + before.String(),
		},
	)
}

// PeerJoined ends the binding if it belongs to none of the routers that are at the address now.
func (b *Binding) PeerJoined() { b.PeerSecured() }

// PeerAmbiguous ends a young registration: it may have been that of the other router that turned
// out to be at the address.
func (b *Binding) PeerAmbiguous() bool {
	if b.Static || b.Server.Now.Sub(b.since) >= peers.MaxAmbiguous {
		return false
	}
	b.Server.Unbind(
		b,
		"another router came to its address behind NAT: who registered it is not certain",
	)
	return true
}

// MarkGone lets the binding wait for its client at its successor.
func (b *Binding) MarkGone(p *peers.Peer, successors map[peerid.ID]*peers.Peer) {
	to := b.Server.Peers.Successor(p, successors)
	b.Server.Announced.unroutePrefixes(b)
	b.Server.Bind(b, to.ID)
}

// PeerBack rebinds the binding to its client, which is back with another mark.
func (b *Binding) PeerBack(_, p *peers.Peer) {
	if !b.Static && b.Identity != "" && b.Identity == p.IKE.Identity {
		b.Server.Bind(b, p.ID)
		b.Restored = false
	}
}

// Router returns the overlay address of the binding.
func (b *Binding) Router() netip.Addr { return b.Protocol }

// RouterIdentity returns the identity of the client. It is empty for a static map.
func (b *Binding) RouterIdentity() string { return b.Identity }

// SetMaps makes the interface's static maps those of the configuration.
func (srv *Server) SetMaps() {
	want := make(map[netip.Addr]netip.Addr)
	for _, m := range srv.Config.Maps {
		want[m.Protocol] = m.NBMA
	}
	for _, b := range ordered.Values(srv.Bindings, ordered.ByAddr) {
		if b.Static && !want[b.Protocol].IsValid() {
			srv.DropBinding(b)
		}
	}
	for _, m := range srv.Config.Maps {
		b := srv.Bindings[m.Protocol]
		if b != nil && !b.Static {
			srv.Unbind(b, "a static map has its overlay address now")
			b = nil
		}
		if b == nil {
			b = srv.NewBinding(m.Protocol)
			b.Static = true
		}
		b.ClientNBMA = m.NBMA
		srv.Bind(b, peerid.At(m.NBMA))
	}
}

// BindingsOf yields the bindings that refer to a peer, which may be nil. The caller must not change
// the references meanwhile.
func BindingsOf(p *peers.Peer) iter.Seq[*Binding] {
	return func(yield func(*Binding) bool) {
		if p == nil {
			return
		}
		for _, c := range p.Refs {
			if b, is := c.Owner.(*Binding); is && !yield(b) {
				return
			}
		}
	}
}

// MayBe reports whether the binding may belong to one of the routers at an address, by the
// identities that IKE proved there.
func (b *Binding) MayBe(ike event.Peer) bool {
	return ike.IsOneOf(b.Identity) || slices.ContainsFunc(b.sharers, ike.IsOneOf)
}

// Revoke ends a binding because the administrator no longer allows it. The engine then tells all
// clients to send nothing to that router any more: answers about the router went directly between
// routers, so any client may have learned its NBMA address.
func (srv *Server) Revoke(b *Binding, reason string) {
	outer := srv.Peers.Outer(b.Peer)
	srv.Unbind(b, reason)
	srv.Admissions.EndAdmission(b.Peer)
	srv.Purges.NoteRevoked(b.Protocol, outer)
}

// Status returns a copy of the binding for people and programs.
func (b *Binding) Status() report.BindingStatus {
	prefixes, reserve := b.prefixLists()
	return report.BindingStatus{
		Protocol:     b.Protocol,
		Peer:         b.Peer,
		Outer:        b.Server.Peers.Outer(b.Peer),
		ClientNBMA:   b.ClientNBMA,
		Identity:     b.Identity,
		Static:       b.Static,
		Unique:       b.Unique,
		Secured:      b.Server.Peers.Secured(b.Peer),
		MTU:          b.MTU,
		Prefixes:     prefixes,
		Reserve:      reserve,
		Routed:       b.Routed && len(prefixes) > 0,
		RegisteredAt: b.since,
		Expires:      b.Expires,
	}
}

// Saved returns what a restart has to know of a client's binding.
func (b *Binding) Saved() report.SavedBinding {
	prefixes, reserve := b.prefixLists()
	return report.SavedBinding{
		Protocol:   b.Protocol,
		Peer:       b.Peer,
		Outer:      b.Server.Peers.Outer(b.Peer),
		ClientNBMA: b.ClientNBMA,
		Identity:   b.Identity,
		Sharers:    slices.Clone(b.sharers),
		Unique:     b.Unique,
		MTU:        b.MTU,
		Prefixes:   prefixes,
		Reserve:    reserve,
		Expires:    b.Server.OnClock(b.Expires),
	}
}

// RegisteredByOtherVersion reports whether the router that is at a peer is registered at a peer of
// the other IP version.
func (srv *Server) RegisteredByOtherVersion(p *peers.Peer) bool {
	if p.IKE.Identity == "" || srv.AddressesOf[overlay.HolderOf(p.IKE.Identity, p.ID)] == 0 {
		return false
	}
	for _, b := range srv.Bindings {
		if b.Identity == p.IKE.Identity && srv.Peers.Outer(b.Peer).Is4() != p.Outer.Is4() {
			return true
		}
	}
	return false
}

// ObjectToBinding objects to a binding if the rules do not give its client the address any more. It
// objects only if none of the identities that the binding may belong to may have the address.
func (srv *Server) ObjectToBinding(b *Binding) objection.Objection {
	if b.Static || b.Identity == "" {
		return objection.Objection{}
	}
	all := srv.Peers.Rules.OfSeveral(b.Identity, b.sharers, srv.Blocks)
	return authorization.OfAll(all, func(a *authorization.Authorization) objection.Objection {
		return a.ToAddress(b.Protocol)
	})
}

// ObjectToAnnounced objects to an announced prefix that the rules do not let its client announce
// any more.
func (srv *Server) ObjectToAnnounced(b *Binding, prefix netip.Prefix) objection.Objection {
	s := srv.Peers.Rules.Of(b.Identity, srv.Blocks)
	return s.ToPrefix(prefix)
}
