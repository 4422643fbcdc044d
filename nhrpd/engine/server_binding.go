package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/timers"
)

// binding is an entry of the server's cache: a client that registered, or a static map.
type binding struct {
	unaffected

	ifc        *iface
	protocol   netip.Addr
	nbma       netip.Addr // where packets go: the outer source as observed, or a name
	clientNBMA netip.Addr // the NBMA address that the client gives; behind NAT it differs
	identity   string

	holder holder // the router whose share the binding counts for; zero: a static map

	// sharers are the further identities that were at the client's address when it registered last.
	// The binding may belong to any of them.
	sharers []string
	// asked are those of identity and sharers that had to register again since: see
	// confirmWhereItIs.
	asked []string

	static     bool
	unique     bool
	restored   bool // from before a restart, and not confirmed since
	mtu        uint16
	since      time.Time
	before     netip.Addr // the NBMA address that the client moved away from, at movedAt
	movedAt    time.Time
	expires    time.Time
	requestID  uint32    // of the last registration
	registered time.Time // when the last registration came
	repeats    int       // how often the client repeated it although it was answered
	prefixes   []*announced
	routed     bool // the routes to prefixes are wanted

	ref       peerRef
	neighbor  neighborClaim
	admission admission
	expiry    timers.Timer
}

// newBinding makes a binding for an overlay address; the caller binds it to an NBMA address.
func (e *Engine) newBinding(ifc *iface, protocol netip.Addr) *binding {
	b := ifc.pools.bindings.take()
	b.ifc, b.protocol, b.since = ifc, protocol, e.now
	b.ref.owner = b
	b.expiry.Run = func() { e.unbind(b, "not refreshed within its holding time") }
	ifc.bindings[protocol] = b
	return b
}

// bind points the binding at an NBMA address, and asks the kernel for the neighbour.
func (e *Engine) bind(b *binding, nbma netip.Addr) {
	b.nbma = nbma
	if b.ref.peer == nil || b.ref.peer.nbma != nbma {
		e.refer(&b.ref, e.peerAt(b.ifc, nbma), reasonBinding, false)
	}
	e.admit(&b.admission, b.ifc, nbma, admittedAs{})
	rank := rankBinding
	if b.static {
		rank = rankMap
	}
	e.wantNeighbor(&b.neighbor, b.ifc, rank, b.protocol, nbma)
	e.routePrefixes(b)
}

// unbind ends a client's binding and logs why. A static map stays.
func (e *Engine) unbind(b *binding, reason string) {
	if b.static {
		return
	}
	e.notice(b.ifc, Notice{
		Kind:     NoticeUnbound,
		Prefix:   hostPrefix(b.protocol),
		NBMA:     b.nbma,
		Identity: b.identity,
		Reason:   reason,
	})
	e.dropBinding(b)
}

// dropBinding forgets a binding with all its prefixes. A client counts as away from then on.
func (e *Engine) dropBinding(b *binding) {
	for _, a := range slices.Clone(b.prefixes) {
		e.dropAnnounced(a)
	}
	delete(b.ifc.bindings, b.protocol)
	delete(b.ifc.uncertain, b.protocol)
	if b.holder != (holder{}) {
		b.ifc.addressesOf.GiveBack(b.holder, 1)
		e.goAway(b)
	}
	e.timers.Stop(&b.expiry)
	e.dropNeighbor(&b.neighbor)
	e.dismiss(&b.admission)
	e.release(&b.ref)
}

// peerSecured uses the binding again if its client is at the address now. If another router is
// there, or the rules no longer allow the binding, it ends.
func (b *binding) peerSecured(e *Engine) {
	if !b.static && !b.mayBe(b.ref.peer.ike) {
		e.keepOwner(b)
		e.unbind(b, "another identity has the client's NBMA address now: "+b.ref.peer.ike.Identity)
		return
	}
	if o := b.ifc.objectToBeing(b.nbma, b.protocol); !b.static && o.Raised() {
		e.revoke(b, o.Text)
		return
	}
	b.restored = false
	e.routePrefixes(b)
}

// peerLost takes back the routes to the client's prefixes until the peer is back or lost for good:
// the networks behind the client may have another way meanwhile. If only the strongSwan here was
// restarted, the kernel's SAs go on, and so do the routes.
func (b *binding) peerLost(e *Engine, _ string) {
	if !b.ref.peer.unlisted {
		e.unroutePrefixes(b)
	}
}

// peerLostForGood ends the binding. The overlay address stays the identity's own until the
// registration expires.
func (b *binding) peerLostForGood(e *Engine) {
	e.keepOwner(b)
	e.unbind(b, "no SA with the client any more")
}

// peerMoved follows a client, with its registration, to another NBMA address.
func (b *binding) peerMoved(e *Engine, to *peer, before netip.Addr) {
	if b.static || b.identity != to.ike.Identity {
		return
	}
	e.bind(b, to.nbma)
	if before == b.ifc.real(to.nbma) {
		return
	}
	e.notice(b.ifc, Notice{Kind: NoticeMoved, Prefix: hostPrefix(b.protocol), NBMA: to.nbma,
		Identity: b.identity, Reason: "it was at " + before.String()})
}

// peerJoined ends the binding if it belongs to none of the routers that are at the address now.
func (b *binding) peerJoined(e *Engine) { b.peerSecured(e) }

// peerDoubtful ends a young registration: it may have been that of the other router that turned out
// to be at the address.
func (b *binding) peerDoubtful(e *Engine) bool {
	if b.static || e.now.Sub(b.since) >= maxDoubt {
		return false
	}
	e.unbind(b, "another router came to its address behind NAT: who registered it is not certain")
	return true
}

// markGone lets the binding wait for its client under a retired name.
func (b *binding) markGone(e *Engine, p *peer, heirs map[netip.Addr]*peer) {
	if to := e.heir(p, heirs); to != nil {
		e.unroutePrefixes(b)
		e.bind(b, to.nbma)
		return
	}
	e.keepOwner(b)
	e.unbind(b, "strongSwan was restarted, and too many clients behind NAT wait for it")
}

// peerBack gives the binding to its client, which is back under another name.
func (b *binding) peerBack(e *Engine, _, p *peer) {
	if !b.static && b.identity != "" && b.identity == p.ike.Identity {
		e.bind(b, p.nbma)
		b.restored = false
	}
}

// router returns the overlay address of the binding.
func (b *binding) router() netip.Addr { return b.protocol }

// setMaps makes the interface's static maps those of the configuration.
func (e *Engine) setMaps(ifc *iface) {
	want := make(map[netip.Addr]netip.Addr)
	for _, m := range ifc.cfg.Maps {
		want[m.Protocol] = m.NBMA
	}
	for _, b := range inOrder(ifc.bindings, byAddr) {
		if b.static && !want[b.protocol].IsValid() {
			e.dropBinding(b)
		}
	}
	for _, m := range ifc.cfg.Maps {
		b := ifc.bindings[m.Protocol]
		if b != nil && !b.static {
			e.unbind(b, "a static map has its overlay address now")
			b = nil
		}
		if b == nil {
			b = e.newBinding(ifc, m.Protocol)
			b.static = true
		}
		b.clientNBMA = m.NBMA
		e.bind(b, m.NBMA)
	}
}
