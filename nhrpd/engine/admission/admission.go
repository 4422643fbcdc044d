package admission

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/pool"
	"cygnet/nhrpd/engine/timers"
)

// Admission decides from whom the kernel takes data: it drops what comes from a peer that is not
// admitted, even if that peer has an SA. A peer is admitted if
//   - it is one of our NHSs,
//   - it is registered with us or has a static map,
//   - it answered a Resolution Request of ours, or
//   - we answered its Resolution Request, and the request came from one of our NHSs or clients. An
//     NHS or client vouches for a router by passing on its request.

// AdmissionGrace is how long the kernel still takes data from a peer after the last reason to admit
// it has ended. Packets may still be in flight then, and the message that ends the sender's route
// may arrive after them.
const AdmissionGrace = 10 * time.Second

// Reason is one reason to take data from a peer. It is a field of whatever has the reason (an
// NHS, a binding, a shortcut or an answer) and must not be copied.
type Reason struct {
	ad   *Table
	NBMA netip.Addr // zero: no reason
	As   As

	Asker bool // the peer is the requester of an answer, see admitAsker
	// Identity is what an SA proved for the requester. It is empty while no SA proves one, and
	// where several routers share the address.
	Identity string
}

// As is what a peer is admitted as.
type As struct {
	NHS bool // it is one of our NHSs
	// shared: it is one of several routers behind its NAT address, and the engine cannot tell
	// which.
	Shared bool
}

// admitted is an NBMA address that the engine has, or had until a moment ago, a reason to admit.
type admitted struct {
	NBMA    netip.Addr
	Reasons []*Reason  // if empty, data still in flight is taken until end
	nhs     int        // how many reasons admit it as an NHS
	shared  int        // how many reasons admit it as one of several at its address
	first   [1]*Reason // backs reasons while there is only one
	// Told reports whether the kernel was told to take its data. It is false while the rules allow
	// the router at the address nothing.
	Told bool
	as   As // as the kernel was told last
	// until is when an answer expires by which the router there was told that it may send, and that
	// was taken back since; zero: none.
	until time.Time
	who   string // the identity that an SA proved there last; empty: none
	End   timers.Timer
}

// Table are the NBMA addresses that the kernel is to take data from on an interface.
type Table struct {
	*overlay.Interface

	peers *peers.Table

	ByNBMA map[netip.Addr]*admitted
	pool   pool.Pool[admitted]
}

// New returns no admissions, with memory for those of that many clients.
func New(st *overlay.Interface, peers *peers.Table, clients int) Table {
	return Table{
		Interface: st,
		peers:     peers,
		ByNBMA:    make(map[netip.Addr]*admitted, clients),
		pool:      pool.New[admitted](clients),
	}
}

// Admit turns a into a reason to take data from an NBMA address. If a was a reason to admit another
// address, or to admit this one as something else, that reason ends.
func (ad *Table) Admit(a *Reason, nbma netip.Addr, as As) {
	if !nbma.IsValid() || a.NBMA == nbma && a.As == as {
		return
	}
	ad.Dismiss(a)
	*a = Reason{ad: ad, NBMA: nbma, As: as}
	at := ad.ByNBMA[nbma]
	if at == nil {
		at = ad.pool.Take()
		at.NBMA, at.Reasons = nbma, at.first[:0]
		ad.ByNBMA[nbma] = at
	}
	if p := ad.peers.ByNBMA[nbma]; p != nil && p.Secured {
		at.who = p.IKE.Identity
	}
	ad.Timers.Stop(&at.End)
	at.Reasons = append(at.Reasons, a)
	at.count(as, 1)
	ad.ReviseAdmission(nbma)
}

// AdmitAsker admits the requester of an answer. A router vouched for the requester by its overlay
// address, and an SA proves the requester's identity. The admission ends when another identity has
// the NBMA address: the router that has the address then is not admitted. Where several routers
// share the NBMA address, the admission is for any of them.
func (ad *Table) AdmitAsker(a *Reason, nbma netip.Addr, as As, unclear bool) {
	ad.Admit(a, nbma, as)
	a.Asker, a.Identity = true, ""
	if p := ad.peers.ByNBMA[nbma]; p != nil && p.Secured && !unclear && !ad.peers.Shared(p) {
		a.Identity = p.IKE.Identity
	}
}

// ReviewAskers is called when an SA has proved who is at an NBMA address. It ends at once what was
// admitted for another identity, and forgets until when that identity was told that it may send.
//
// It reports whether another identity was at the address before, or was admitted there. If so, the
// caller has to end what is left of that identity's admission, once the peer's other reasons have
// been reviewed.
func (ad *Table) ReviewAskers(p *peers.Peer) (other bool) {
	at := ad.ByNBMA[p.NBMA]
	if at == nil {
		return false
	}
	other = at.who != "" && !p.IKE.IsOneOf(at.who)
	at.who = p.IKE.Identity
	if other {
		at.until = time.Time{}
	}
	for _, a := range slices.Clone(at.Reasons) {
		switch {
		case !a.Asker:
		case a.Identity == "" && !ad.peers.Shared(p):
			a.Identity = p.IKE.Identity
			ad.StateChanged()
		case a.Identity != "" && !p.IKE.IsOneOf(a.Identity):
			ad.Dismiss(a)
			other = true
		}
	}
	return other
}

// ReviseAdmission tells the kernel whether to take data from an address, and as what: by the
// reasons for it, and by the rules about the router that is there.
func (ad *Table) ReviseAdmission(nbma netip.Addr) {
	at := ad.ByNBMA[nbma]
	if at == nil {
		return
	}
	as := at.as
	if len(at.Reasons) > 0 {
		as = at.Together()
	}
	switch may := !ad.peers.ObjectTo(nbma).Raised(); {
	case may && (!at.Told || at.as != as):
		at.Told, at.as = true, as
		ad.Out.Admitted = append(ad.Out.Admitted, at.Change(ad.Interface))
	case !may:
		ad.untellAdmission(at)
	}
}

// untellAdmission tells the kernel to take no more data from an address.
func (ad *Table) untellAdmission(at *admitted) {
	if at.Told {
		at.Told = false
		ad.Out.Admitted = append(ad.Out.Admitted, output.AdmissionChange{
			PeerKey: output.PeerKey{Interface: ad.Config.Name, NBMA: at.NBMA}, Delete: true})
	}
}

// Together returns what all reasons together admit the peer as.
func (at *admitted) Together() As {
	return As{NHS: at.nhs > 0, Shared: at.shared > 0}
}

// count adds change to the number of reasons of each kind that is set in as.
func (at *admitted) count(as As, change int) {
	if as.NHS {
		at.nhs += change
	}
	if as.Shared {
		at.shared += change
	}
}

// Dismiss ends a reason to admit a peer. With the last reason, the admission ends after
// admissionGrace; it ends at once if more addresses are admitted than the interface's limits allow
// reasons for.
func (ad *Table) Dismiss(a *Reason) {
	if !a.NBMA.IsValid() {
		return
	}
	at := ad.ByNBMA[a.NBMA]
	at.count(a.As, -1)
	a.NBMA, a.As = netip.Addr{}, As{}
	if a.Asker {
		ad.StateChanged()
	}
	at.Reasons = ordered.Without(at.Reasons, a)
	switch {
	case len(at.Reasons) > 0:
		ad.ReviseAdmission(at.NBMA)
	case len(ad.ByNBMA) > ad.Config.MostAdmitted():
		ad.EndAdmission(at.NBMA)
	default:
		at.End.Run = func() { ad.EndAdmission(at.NBMA) }
		ad.Timers.Set(&at.End, overlay.Later(ad.Now.Add(AdmissionGrace), at.until))
	}
}

// DismissAt dismisses a reason to admit a peer that was told that it may send until a time. The
// peer may not have heard that the reason ended, so the kernel takes its data until that time at
// least.
func (ad *Table) DismissAt(a *Reason, until time.Time) {
	if !a.NBMA.IsValid() {
		return
	}
	at := ad.ByNBMA[a.NBMA]
	at.until = overlay.Later(at.until, until)
	ad.Dismiss(a)
}

// EndAdmission has the kernel take no more data from an address, without waiting for packets in
// flight. It does nothing while there is a reason to admit the address.
func (ad *Table) EndAdmission(nbma netip.Addr) {
	at := ad.ByNBMA[nbma]
	if at == nil || len(at.Reasons) > 0 {
		return
	}
	ad.Timers.Stop(&at.End)
	delete(ad.ByNBMA, nbma)
	ad.untellAdmission(at)
}

// EndAdmissions calls endAdmission for every admitted address of an interface.
func (ad *Table) EndAdmissions() {
	for _, at := range ordered.Values(ad.ByNBMA, ordered.ByAddr) {
		ad.EndAdmission(at.NBMA)
	}
}

// Change returns the wanted state of an admitted address.
func (at *admitted) Change(st *overlay.Interface) output.AdmissionChange {
	return output.AdmissionChange{PeerKey: output.PeerKey{Interface: st.Config.Name, NBMA: at.NBMA},
		NHS: at.as.NHS, Shared: at.as.Shared}
}

// TakesFrom reports whether the kernel is to take data from a peer, either because there is a
// reason for the peer itself, or because it is one of the routers behind an admitted NAT address.
func (ad *Table) TakesFrom(p *peers.Peer) bool {
	if at := ad.ByNBMA[p.NBMA]; at != nil && at.Told {
		return true
	}
	at := ad.ByNBMA[p.Outer]
	return at != nil && at.Told && at.as.Shared
}
