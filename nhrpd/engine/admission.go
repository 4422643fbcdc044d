package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/timers"
)

// Admission decides from whom the kernel takes data: it drops what comes from a peer that is not
// admitted, even if that peer has an SA. A peer is admitted if
//   - it is one of our NHSs,
//   - it is registered with us or has a static map,
//   - it answered a Resolution Request of ours, or
//   - we answered its Resolution Request, and the request came from one of our NHSs or clients. An
//     NHS or client vouches for a router by passing on its request.

// admissionGrace is how long the kernel still takes data from a peer after the last reason to admit
// it has ended. Packets may still be in flight then, and the message that ends the sender's route
// may arrive after them.
const admissionGrace = 10 * time.Second

// admission is one reason to take data from a peer. It is a field of whatever has the reason (an
// NHS, a binding, a shortcut or an answer) and must not be copied.
type admission struct {
	ifc  *iface
	nbma netip.Addr // zero: no reason
	as   admittedAs

	asker bool // the peer is the requester of an answer, see admitAsker
	// identity is what an SA proved for the requester. It is empty while no SA proves one, and
	// where several routers share the address.
	identity string
}

// admittedAs is what a peer is admitted as.
type admittedAs struct {
	nhs bool // it is one of our NHSs
	// shared: it is one of several routers behind its NAT address, and the engine cannot tell
	// which.
	shared bool
}

// admitted is an NBMA address that the engine has, or had until a moment ago, a reason to admit.
type admitted struct {
	nbma    netip.Addr
	reasons []*admission  // if empty, data still in flight is taken until end
	nhs     int           // how many reasons admit it as an NHS
	shared  int           // how many reasons admit it as one of several at its address
	first   [1]*admission // backs reasons while there is only one
	// told reports whether the kernel was told to take its data. It is false while the rules allow
	// the router at the address nothing.
	told bool
	as   admittedAs // as the kernel was told last
	// until is when an answer expires by which the router there was told that it may send, and that
	// was taken back since; zero: none.
	until time.Time
	who   string // the identity that an SA proved there last; empty: none
	end   timers.Timer
}

// admit turns a into a reason to take data from an NBMA address. If a was a reason to admit another
// address, or to admit this one as something else, that reason ends.
func (e *Engine) admit(a *admission, ifc *iface, nbma netip.Addr, as admittedAs) {
	if !nbma.IsValid() || a.nbma == nbma && a.as == as {
		return
	}
	e.dismiss(a)
	*a = admission{ifc: ifc, nbma: nbma, as: as}
	at := ifc.admitted[nbma]
	if at == nil {
		at = ifc.pools.admitted.take()
		at.nbma, at.reasons = nbma, at.first[:0]
		ifc.admitted[nbma] = at
	}
	if p := ifc.peers[nbma]; p != nil && p.secured {
		at.who = p.ike.Identity
	}
	e.timers.Stop(&at.end)
	at.reasons = append(at.reasons, a)
	at.count(as, 1)
	e.reviseAdmission(ifc, nbma)
}

// admitAsker admits the requester of an answer. A router vouched for the requester by its overlay
// address, and an SA proves the requester's identity. The admission ends when another identity has
// the NBMA address: the router that has the address then is not admitted. Where several routers
// share the NBMA address, the admission is for any of them.
func (e *Engine) admitAsker(a *answer, as admittedAs) {
	e.admit(&a.admission, a.ifc, a.nbma, as)
	a.admission.asker, a.admission.identity = true, ""
	if p := a.ifc.peers[a.nbma]; p != nil && p.secured && !a.unclear && !a.ifc.shared(p) {
		a.admission.identity = p.ike.Identity
	}
}

// reviewAskers is called when an SA has proved who is at an NBMA address. It ends at once what was
// admitted for another identity, and forgets until when that identity was told that it may send.
//
// It reports whether another identity was at the address before, or was admitted there. If so, the
// caller has to end what is left of that identity's admission, once the peer's other reasons have
// been reviewed.
func (e *Engine) reviewAskers(p *peer) (other bool) {
	ifc := p.ifc
	at := ifc.admitted[p.nbma]
	if at == nil {
		return false
	}
	other = at.who != "" && !p.ike.isOneOf(at.who)
	at.who = p.ike.Identity
	if other {
		at.until = time.Time{}
	}
	for _, a := range slices.Clone(at.reasons) {
		switch {
		case !a.asker:
		case a.identity == "" && !ifc.shared(p):
			a.identity = p.ike.Identity
		case a.identity != "" && !p.ike.isOneOf(a.identity):
			e.dismiss(a)
			other = true
		}
	}
	return other
}

// reviseAdmission tells the kernel whether to take data from an address, and as what: by the
// reasons for it, and by the rules about the router that is there.
func (e *Engine) reviseAdmission(ifc *iface, nbma netip.Addr) {
	at := ifc.admitted[nbma]
	if at == nil {
		return
	}
	as := at.as
	if len(at.reasons) > 0 {
		as = at.together()
	}
	switch may := !ifc.objectTo(nbma).Raised(); {
	case may && (!at.told || at.as != as):
		at.told, at.as = true, as
		e.out.Admitted = append(e.out.Admitted, at.change(ifc))
	case !may:
		e.untellAdmission(ifc, at)
	}
}

// untellAdmission tells the kernel to take no more data from an address.
func (e *Engine) untellAdmission(ifc *iface, at *admitted) {
	if at.told {
		at.told = false
		e.out.Admitted = append(e.out.Admitted, AdmissionChange{
			PeerKey: PeerKey{Interface: ifc.cfg.Name, NBMA: at.nbma}, Delete: true})
	}
}

// together returns what all reasons together admit the peer as.
func (at *admitted) together() admittedAs {
	return admittedAs{nhs: at.nhs > 0, shared: at.shared > 0}
}

// count adds change to the number of reasons of each kind that is set in as.
func (at *admitted) count(as admittedAs, change int) {
	if as.nhs {
		at.nhs += change
	}
	if as.shared {
		at.shared += change
	}
}

// dismiss ends a reason to admit a peer. With the last reason, the admission ends after
// admissionGrace; it ends at once if more addresses are admitted than the interface's limits allow
// reasons for.
func (e *Engine) dismiss(a *admission) {
	if !a.nbma.IsValid() {
		return
	}
	ifc, at := a.ifc, a.ifc.admitted[a.nbma]
	at.count(a.as, -1)
	a.nbma, a.as = netip.Addr{}, admittedAs{}
	at.reasons = without(at.reasons, a)
	switch {
	case len(at.reasons) > 0:
		e.reviseAdmission(ifc, at.nbma)
	case len(ifc.admitted) > ifc.cfg.mostAdmitted():
		e.endAdmission(ifc, at.nbma)
	default:
		at.end.Run = func() { e.endAdmission(ifc, at.nbma) }
		e.timers.Set(&at.end, later(e.now.Add(admissionGrace), at.until))
	}
}

// dismissAt dismisses a reason to admit a peer that was told that it may send until a time. The
// peer may not have heard that the reason ended, so the kernel takes its data until that time at
// least.
func (e *Engine) dismissAt(a *admission, until time.Time) {
	if !a.nbma.IsValid() {
		return
	}
	at := a.ifc.admitted[a.nbma]
	at.until = later(at.until, until)
	e.dismiss(a)
}

// endAdmission has the kernel take no more data from an address, without waiting for packets in
// flight. It does nothing while there is a reason to admit the address.
func (e *Engine) endAdmission(ifc *iface, nbma netip.Addr) {
	at := ifc.admitted[nbma]
	if at == nil || len(at.reasons) > 0 {
		return
	}
	e.timers.Stop(&at.end)
	delete(ifc.admitted, nbma)
	e.untellAdmission(ifc, at)
}

// endAdmissions calls endAdmission for every admitted address of an interface.
func (e *Engine) endAdmissions(ifc *iface) {
	for _, at := range inOrder(ifc.admitted, byAddr) {
		e.endAdmission(ifc, at.nbma)
	}
}

// change returns the wanted state of an admitted address.
func (at *admitted) change(ifc *iface) AdmissionChange {
	return AdmissionChange{PeerKey: PeerKey{Interface: ifc.cfg.Name, NBMA: at.nbma},
		NHS: at.as.nhs, Shared: at.as.shared}
}

// mostAdmitted returns the most addresses that there may be reasons to admit.
func (c *InterfaceConfig) mostAdmitted() int {
	return c.Limits.Bindings + c.Limits.Shortcuts + c.Limits.Answers + len(c.Maps) + len(c.NHS)
}

// vouches reports whether the router at an NBMA address vouches for the routers whose requests it
// passes on to us: it is one of our NHSs, a client, or a router with a static map.
func (ifc *iface) vouches(nbma netip.Addr) bool {
	p := ifc.peers[nbma]
	return p != nil && (p.has(reasonNHS) || p.has(reasonBinding))
}

// Admitted returns the peers that the kernel is to take data from on an interface, ordered by NBMA
// address. It is the sum of all changes in Output.Admitted so far.
func (e *Engine) Admitted(ifname string) []AdmissionChange {
	ifc := e.ifaces[ifname]
	if ifc == nil {
		return nil
	}
	list := make([]AdmissionChange, 0, len(ifc.admitted))
	for _, at := range inOrder(ifc.admitted, byAddr) {
		if at.told {
			list = append(list, at.change(ifc))
		}
	}
	return list
}

// admitted reports whether the kernel is to take data from a peer, either because there is a reason
// for the peer itself, or because it is one of the routers behind an admitted NAT address.
func (p *peer) admitted() bool {
	if at := p.ifc.admitted[p.nbma]; at != nil && at.told {
		return true
	}
	at := p.ifc.admitted[p.real]
	return at != nil && at.told && at.as.shared
}
