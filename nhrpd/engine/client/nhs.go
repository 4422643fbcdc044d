package client

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/selection"
)

// NHS is a next hop server at one address, and our registrations with it (RFC 2332 §5.2.3): one for
// each family of the overlay. A configured name with several addresses is as many NHSs. Of a name
// with addresses of both IP versions, those of one version are registered with at a time.
// doc/peer-and-shortcut.md has the states.
type NHS struct {
	peers.Unaffected

	cl *Client

	// Config is the NHS as it is configured.
	Config overlay.NHSConfig
	// NBMA is the address of the NHS. It is the zero address while the name has none.
	NBMA netip.Addr
	// Public is our NBMA address as the NHS sees it, where NAT changes it; else the zero address.
	Public netip.Addr
	// Admission is the reason to take data from the NHS. It ends while the rules deny the NHS.
	Admission admission.Reason
	// Registrations has our registration of each family, in the order of the configuration.
	Registrations []*Registration

	ref peers.Ref

	// name is the number of the name in the configuration, from 1, if the name has addresses of
	// both IP versions that the tunnel can send to; else 0.
	name   int
	ready  time.Time // when the NHS got its SA, in as far as it has not gone for good; zero: none
	failed time.Time // when the NHS last failed; zero: never

	role       selection.Role
	phase      selection.State // what the choice among several NHSs goes by
	phaseSince time.Time
	watch      silenceWatch
}

// newNHS returns an NHS of the configuration, at that address, with no registration yet.
func (cl *Client) newNHS(cfg overlay.NHSConfig, nbma netip.Addr) *NHS {
	n := &NHS{cl: cl, Config: cfg, NBMA: nbma}
	n.ref.Owner = n
	for _, f := range cl.Config.Families() {
		n.Registrations = append(n.Registrations, n.newRegistration(f.Address.Addr()))
	}
	return n
}

// ID returns the peer that the NHS is. It is the zero ID if no address is in use.
func (n *NHS) ID() peerid.ID { return peerid.At(n.NBMA) }

// Usable reports whether the NHS has registered us with any family, and is secured.
func (n *NHS) Usable() bool { return n.any((*Registration).Usable) }

// any reports whether f holds for any registration with the NHS.
func (n *NHS) any(f func(*Registration) bool) bool {
	return slices.ContainsFunc(n.Registrations, f)
}

// RegisterAnew registers with an NHS from the start: as if no request had gone to it before. The
// requests go out at once if we have an address and the SA that IPsec requires is up. It does
// nothing for an NHS that is left alone.
func (cl *Client) RegisterAnew(n *NHS) {
	for _, r := range n.Registrations {
		r.registerAnew()
	}
}

// objectToNHS returns why the router at the address of an NHS may not be that NHS, by the address
// that the NHS has in the family of a registration.
func (cl *Client) objectToNHS(r *Registration) objection.Objection {
	if !r.Protocol.IsValid() {
		return cl.Peers.ObjectTo(r.ID())
	}
	return cl.Peers.ObjectToBeing(r.ID(), r.Protocol)
}

// PeerSecured registers as soon as the NHS has an SA: the NHS may have forgotten us meanwhile.
func (n *NHS) PeerSecured() {
	n.noteSecured()
	for _, r := range n.Registrations {
		r.err = "" // it said why there was no SA
		r.registerAnew()
	}
}

// PeerLost stops registering until the NHS has an SA again. The neighbours of the NHS stay for now.
func (n *NHS) PeerLost(reason string) {
	if n.failed.After(n.ready) {
		n.ready = time.Time{} // another SA shows that something has changed since the failure
	}
	if n.standsBy() {
		n.cl.chooseSoon()
		return
	}
	for _, r := range n.Registrations {
		r.lose(reason)
	}
	n.cl.Parts.MoveRelaysFrom(n.ID())
	n.lost()
}

// lose ends the registration, which the NHS does not have any more.
func (r *Registration) lose(reason string) {
	r.noteLoss(reason)
	r.awaiting, r.attempts, r.silent, r.quiet, r.Registered = false, 0, 0, 0, false
	r.err, r.takenBack = reason, false
	r.stopRegistering()
	r.forgetAnnouncement()
}

// PeerLostForGood withdraws the neighbours of an NHS whose SA has not come back. The engine goes on
// securing the NHS, and registers when it has an SA.
func (n *NHS) PeerLostForGood() {
	n.ready = time.Time{}
	n.withdraw()
}

// withdraw withdraws the neighbours of the NHS.
func (n *NHS) withdraw() {
	for _, r := range n.Registrations {
		n.cl.Neighbors.Withdraw(&r.neighbor)
	}
}

// PeerFailed has the next NHS tried if one could not be secured.
func (n *NHS) PeerFailed() {
	n.ready = time.Time{}
	for _, r := range n.Registrations {
		r.err = n.ref.Peer.Err
	}
	n.fail()
}

// PeerRenewed registers again: the NHS may have lost our registrations together with the old SA.
func (n *NHS) PeerRenewed() { n.cl.RegisterAnew(n) }

// PeerBarred has the next NHS tried if the router at the address of one may do nothing here.
func (n *NHS) PeerBarred(_ string) { n.PeerFailed() }

// RulesChanged stops using the NHS if the rules no longer let the router at its address be that
// NHS.
func (n *NHS) RulesChanged(_ *peers.Peer) {
	for _, r := range n.Registrations {
		if o := n.cl.objectToNHS(r); o.Raised() {
			r.denyNHS(o)
		}
	}
}

// Router returns the first overlay address of the NHS that is known.
func (n *NHS) Router() netip.Addr {
	for _, r := range n.Registrations {
		if r.Protocol.IsValid() {
			return r.Protocol
		}
	}
	return netip.Addr{}
}

// DropNHS ends everything that we have with an NHS, which is not one of ours any more. It first
// takes back our registrations, if the NHS has any.
func (cl *Client) DropNHS(n *NHS) {
	n.leaveAlone()
	for _, r := range n.Registrations {
		cl.Timers.Stop(&r.grace)
		cl.Neighbors.Withdraw(&r.neighbor)
		r.Protocol, r.err = r.configured(), ""
	}
	n.NBMA = netip.Addr{}
	cl.chooseSoon()
}

// takenBackReason is why a registration is lost that the NHS has taken back. A Purge Request has no
// field for a reason (RFC 2332 §5.2.5).
const takenBackReason = "the NHS took back our registration, and NHRP has no field for why: it leaves the overlay, or it does not allow us any more; the answer to the next request tells"

// TakenBack handles that the NHS which sent a message has taken back our registration of the family
// of the message. Either the NHS leaves the overlay, and does not close the SA because another
// overlay needs that, or it does not allow us any more. This router tries to register again, as
// after the end of an SA, and meanwhile uses another NHS if it has one. An NHS that does not allow
// us refuses that, and one that has left does not answer.
func (cl *Client) TakenBack(m *overlay.Message) {
	for r := range cl.registrations() {
		if r.Wanted() && r.ID() == m.From && r.Protocol == m.SourceProtocol && r.Registered {
			r.lose(takenBackReason)
			r.takenBack = true
			cl.Parts.MoveRelaysFrom(r.ID())
			if !r.NHS.Usable() {
				r.lost()
			}
			r.registerAnew()
		}
	}
}

// SentByNHS reports whether one of our NHSs sent the message in its own name.
func (cl *Client) SentByNHS(m *overlay.Message) bool {
	return slices.ContainsFunc(cl.NHS, func(n *NHS) bool {
		return n.Wanted() && n.ID() == m.From && n.has(m.SourceProtocol)
	})
}

// has reports whether the NHS has an overlay address.
func (n *NHS) has(protocol netip.Addr) bool {
	return n.any(func(r *Registration) bool { return r.Protocol == protocol })
}

// UsableNHS returns the overlay address and the ID of the first NHS in use that has registered this
// router with the IP version of dest. ok is false if there is none.
func (cl *Client) UsableNHS(dest netip.Addr) (protocol netip.Addr, peer peerid.ID, ok bool) {
	for r := range cl.Usable(dest) {
		return r.Protocol, r.ID(), true
	}
	return netip.Addr{}, peerid.ID{}, false
}

// AnyUsable reports whether any NHS has registered this router, and is secured.
func (cl *Client) AnyUsable() bool { return slices.ContainsFunc(cl.NHS, (*NHS).Usable) }

// RegisteredWithAll reports whether every NHS that is not in reserve has registered this router.
func (cl *Client) RegisteredWithAll() bool {
	return len(cl.NHS) > 0 && !slices.ContainsFunc(cl.NHS, func(n *NHS) bool {
		return !n.inReserve() && !n.standsBy() && !n.Usable()
	})
}

// IsNHSElsewhere reports whether an overlay address is that of one of this router's NHSs, and the
// NHS is not at that NBMA address.
func (cl *Client) IsNHSElsewhere(protocol netip.Addr, id peerid.ID) bool {
	elsewhere := false
	for _, n := range cl.NHS {
		switch {
		case !n.has(protocol):
		case n.ID() == id:
			return false
		default:
			elsewhere = true
		}
	}
	return elsewhere
}

// IsNHSProtocol reports whether an overlay address is that of one of our NHSs. Such an address is
// never resolved: this router finds NHSs by registering with them. An NHS that is left alone is
// found like any other router.
func (cl *Client) IsNHSProtocol(protocol netip.Addr) bool {
	return slices.ContainsFunc(cl.NHS, func(n *NHS) bool {
		return !n.inReserve() && n.has(protocol)
	})
}

// Status returns a copy of the state of the NHS and of our registrations with it.
func (n *NHS) Status() report.NHSStatus {
	st := report.NHSStatus{
		Name:     n.Config.Name,
		NBMA:     n.NBMA,
		Public:   n.Public,
		Priority: n.Config.Priority,
		Cluster:  n.Config.Cluster,
		Use:      n.use(),
		Checks:   n.watch.checks,
	}
	if st.Use == report.UseReturning {
		st.Returns = n.answersSince().Add(n.cl.Config.FallbackDelay)
	}
	for _, r := range n.Registrations {
		st.Registrations = append(st.Registrations, r.status())
	}
	st.RegistrationStatus = st.Registrations[0]
	return st
}

// Saved returns what a restart has to know of an NHS: an entry for each family in which the NHS has
// registered us.
func (n *NHS) Saved() []report.SavedNHS {
	var list []report.SavedNHS
	for _, r := range n.Registrations {
		if r.Registered {
			list = append(list,
				report.SavedNHS{Name: n.Config.Name, Protocol: r.Protocol, NBMA: n.NBMA})
		}
	}
	return list
}

// RegisterNow registers this router at once with each NHS that is used or tried. It returns with
// how many.
func (cl *Client) RegisterNow() int {
	count := 0
	for _, n := range cl.NHS {
		if n.Wanted() {
			cl.RegisterAnew(n)
			count++
		}
	}
	return count
}
