package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/timers"
)

// Admission is in the data plane: the kernel takes data only from peers that are admitted, whatever
// SA others have. Admitted is who is one of our NHSs, who is registered with us or has a static
// map, who answered us, and whom we answered when the question came along an NHS or from a client
// of ours: those vouch for the routers that they pass questions on for.

// admissionGrace is how long data is taken after the last reason for it ended: packets are under
// way, and the message that ends their sender's route may be behind them.
const admissionGrace = 10 * time.Second

// admission is its owner's reason to take data from a peer. It lives in its owner and must not be
// copied.
type admission struct {
	ifc  *iface
	nbma netip.Addr // zero: no reason
	as   admittedAs

	asker    bool   // it is for whoever asked us from there, see admitAsker
	identity string // of an asker, once an SA proved it; empty: not yet, or one of several
}

// admittedAs is what a peer is admitted as.
type admittedAs struct {
	nhs    bool // an NHS of ours
	shared bool // one of those behind its NAT address, not known which
}

// admitted is an NBMA address that the kernel takes data from.
type admitted struct {
	nbma    netip.Addr
	reasons []*admission  // none: data that is under way is taken until end
	nhs     int           // reasons as an NHS
	shared  int           // reasons as one of those behind its address
	first   [1]*admission // memory of reasons, as long as there is one
	told    bool          // the kernel takes its data; false: the rules let whoever is there nothing
	as      admittedAs    // as told
	until   time.Time     // who is there was told that it may send until then; zero: nothing
	who     string        // the identity that an SA proved there last; empty: none did
	end     timers.Timer
}

// admit takes data from an NBMA address for as long as a stands, and for this reason no longer from
// the one before.
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

// admitAsker admits the requester of an answer. A router vouched for it by its overlay address, and
// an SA proves its identity: with that identity the admission ends, and whoever has the NBMA
// address after it is not admitted. Where several routers share the address, it is for any of them.
func (e *Engine) admitAsker(a *answer, as admittedAs) {
	e.admit(&a.admission, a.ifc, a.nbma, as)
	a.admission.asker, a.admission.identity = true, ""
	if p := a.ifc.peers[a.nbma]; p != nil && p.secured && !a.unclear && !a.ifc.shared(p) {
		a.admission.identity = p.ike.Identity
	}
}

// reviewAskers follows when an SA proves who is at an NBMA address: what was admitted for another
// identity ends at once, and so does what that one was told that it may still send. It reports
// whether another identity was there before: then nothing may be left of that one's admission once
// the reasons for the peer have followed.
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

// reviseAdmission tells what follows from the reasons and from the rules about who is at an
// address.
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

func (e *Engine) untellAdmission(ifc *iface, at *admitted) {
	if at.told {
		at.told = false
		e.out.Admitted = append(e.out.Admitted, AdmissionChange{PeerKey: PeerKey{Interface: ifc.cfg.Name, NBMA: at.nbma}, Delete: true})
	}
}

// together is what all reasons admit the peer as.
func (at *admitted) together() admittedAs {
	return admittedAs{nhs: at.nhs > 0, shared: at.shared > 0}
}

// count adds to the reasons of a kind.
func (at *admitted) count(as admittedAs, change int) {
	if as.nhs {
		at.nhs += change
	}
	if as.shared {
		at.shared += change
	}
}

// dismiss ends the reason. With the last one, the admission ends after the grace.
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

// dismissAt dismisses the reason of a peer that was told that it may send until then, and may not
// have heard that it ended.
func (e *Engine) dismissAt(a *admission, until time.Time) {
	if !a.nbma.IsValid() {
		return
	}
	at := a.ifc.admitted[a.nbma]
	at.until = later(at.until, until)
	e.dismiss(a)
}

// endAdmission takes no more data from an address that there is no reason for any more, whatever is
// under way.
func (e *Engine) endAdmission(ifc *iface, nbma netip.Addr) {
	at := ifc.admitted[nbma]
	if at == nil || len(at.reasons) > 0 {
		return
	}
	e.timers.Stop(&at.end)
	delete(ifc.admitted, nbma)
	e.untellAdmission(ifc, at)
}

// endAdmissions is endAdmission for all addresses.
func (e *Engine) endAdmissions(ifc *iface) {
	for _, at := range inOrder(ifc.admitted, byAddr) {
		e.endAdmission(ifc, at.nbma)
	}
}

func (at *admitted) change(ifc *iface) AdmissionChange {
	return AdmissionChange{PeerKey: PeerKey{Interface: ifc.cfg.Name, NBMA: at.nbma}, NHS: at.as.nhs, Shared: at.as.shared}
}

// mostAdmitted bounds how many addresses there are reasons for.
func (c *InterfaceConfig) mostAdmitted() int {
	return c.Limits.Bindings + c.Limits.Shortcuts + c.Limits.Answers + len(c.Maps) + len(c.NHS)
}

// vouches reports whether the router at an NBMA address is one that passes on questions of others to
// us: an NHS of ours, a client or one with a static map.
func (ifc *iface) vouches(nbma netip.Addr) bool {
	p := ifc.peers[nbma]
	return p != nil && (p.has(reasonNHS) || p.has(reasonBinding))
}

// Admitted lists whose data is taken on an interface, in order: what all changes so far amount to.
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

// admitted reports whether the kernel is to take data from a peer: for reasons of its own, or as one
// of those behind its NAT address.
func (p *peer) admitted() bool {
	if at := p.ifc.admitted[p.nbma]; at != nil && at.told {
		return true
	}
	at := p.ifc.admitted[p.real]
	return at != nil && at.told && at.as.shared
}
