package admission

import (
	"maps"
	"slices"
	"time"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/pool"
	"cygnet/nhrpd/engine/timers"
)

// AdmissionGrace is how long the kernel still takes data from a peer after the last reason to admit
// it has ended. Packets may still be in flight then, and the message that ends the sender's route
// may arrive after them.
const AdmissionGrace = 10 * time.Second

// Reason is one reason to take data from a peer. It is a field of whatever has the reason (an
// NHS, a binding, a shortcut or an answer) and must not be copied. The zero value is no reason.
type Reason struct {
	// NBMA is the peer's NBMA address. It is zero if this is no reason.
	Peer peerid.ID

	// As is what the peer is admitted as.
	As As

	// Identity is the identity that an SA proved for the requester of an answer. It is empty while
	// no SA proves one, where several routers share the address, and in other reasons.
	Identity string

	asker bool // the peer is the requester of an answer, see AdmitAsker
}

// As is what a peer is admitted as.
type As struct {
	// NHS reports whether the peer is one of our NHSs, and relays what others sent.
	NHS bool

	// Shared reports whether the peer is one of several routers behind its NAT address, and the
	// engine cannot tell which.
	Shared bool
}

// admitted is an NBMA address that the engine has, or had until a moment ago, a reason to admit.
type admitted struct {
	id      peerid.ID
	reasons []*Reason  // if empty, data still in flight is taken until end
	nhs     int        // how many reasons admit it as an NHS
	shared  int        // how many reasons admit it as one of several at its address
	first   [1]*Reason // backs reasons while there is only one

	// told reports whether the kernel was told to take its data. It is false while the rules allow
	// the router at the address nothing.
	told bool
	as   As // as the kernel was told last

	// until is when an answer expires by which the router there was told that it may send, and that
	// was taken back since; zero: none.
	until    time.Time
	identity string       // the identity that an SA proved there last; empty: none
	end      timers.Timer // runs while there is no reason
}

// Table has the NBMA addresses that the kernel is to take data from on an interface.
type Table struct {
	*overlay.Interface

	peers *peers.Table
	byID  map[peerid.ID]*admitted
	pool  pool.Pool[admitted]
}

// New returns a table without admissions, with memory for those of that many clients.
func New(ifc *overlay.Interface, peers *peers.Table, clients int) Table {
	return Table{
		Interface: ifc,
		peers:     peers,
		byID:      make(map[peerid.ID]*admitted, clients),
		pool:      pool.New[admitted](clients),
	}
}

// Admit turns r into a reason to take data from an NBMA address. If r was a reason to admit another
// address, or to admit this one as something else, that reason ends. Admit does nothing without an
// address.
func (ad *Table) Admit(r *Reason, id peerid.ID, as As) {
	if !id.IsValid() || r.Peer == id && r.As == as {
		return
	}
	ad.Dismiss(r)
	*r = Reason{Peer: id, As: as}
	at := ad.byID[id]
	if at == nil {
		at = ad.pool.Take()
		at.id, at.reasons = id, at.first[:0]
		ad.byID[id] = at
	}
	if p := ad.peers.ByID[id]; p != nil && p.Secured {
		at.identity = p.IKE.Identity
	}
	ad.Timers.Stop(&at.end)
	at.reasons = append(at.reasons, r)
	at.count(as, 1)
	ad.ReviseAdmission(id)
}

// AdmitAsker admits the requester of an answer. A router vouched for the requester by its overlay
// address, and an SA proves the requester's identity. The admission ends when another identity has
// the NBMA address: the router that has the address then is not admitted. Where several routers
// share the NBMA address, the admission is for any of them. The caller says with unclear that it
// does not know which router at the address asked.
func (ad *Table) AdmitAsker(r *Reason, id peerid.ID, as As, unclear bool) {
	identity := ""
	if p := ad.peers.ByID[id]; p != nil && p.Secured && !unclear && !ad.peers.Shared(p) {
		identity = p.IKE.Identity
	}
	ad.AdmitIdentity(r, id, as, identity)
}

// AdmitIdentity admits the requester of an answer that an SA proved to be identity before. If
// identity is empty, the next SA at the address decides for whom the admission is.
func (ad *Table) AdmitIdentity(r *Reason, id peerid.ID, as As, identity string) {
	ad.Admit(r, id, as)
	r.asker, r.Identity = true, identity
}

// ReviewAskers is called when an SA has proved who is at an NBMA address. It ends at once what was
// admitted for another identity, and forgets until when that identity was told that it may send.
//
// It reports whether another identity was at the address before, or was admitted there. If so, the
// caller has to end what is left of that identity's admission, once the peer's other reasons have
// been reviewed.
func (ad *Table) ReviewAskers(p *peers.Peer) (other bool) {
	at := ad.byID[p.ID]
	if at == nil {
		return false
	}
	other = at.identity != "" && !p.IKE.IsOneOf(at.identity)
	at.identity = p.IKE.Identity
	if other {
		at.until = time.Time{}
	}
	for _, r := range slices.Clone(at.reasons) {
		switch {
		case !r.asker:
		case r.Identity == "" && !ad.peers.Shared(p):
			r.Identity = p.IKE.Identity
			ad.StateChanged()
		case r.Identity != "" && !p.IKE.IsOneOf(r.Identity):
			ad.Dismiss(r)
			other = true
		}
	}
	return other
}

// ReviseAdmission tells the kernel whether to take data from an address, and as what: by the
// reasons for it, and by the rules about the router that is there.
func (ad *Table) ReviseAdmission(id peerid.ID) {
	at := ad.byID[id]
	if at == nil {
		return
	}
	as := at.as
	if len(at.reasons) > 0 {
		as = at.together()
	}
	switch may := !ad.peers.ObjectTo(id).Raised(); {
	case may && (!at.told || at.as != as):
		at.told, at.as = true, as
		ad.Out.Admitted = append(ad.Out.Admitted, ad.change(at))
	case !may:
		ad.withdraw(at)
	}
}

// withdraw tells the kernel to take no more data from an address.
func (ad *Table) withdraw(at *admitted) {
	if at.told {
		at.told = false
		ad.Out.Admitted = append(ad.Out.Admitted, output.AdmissionChange{
			PeerKey: output.PeerKey{Interface: ad.Config.Name, ID: at.id}, Delete: true})
	}
}

// together returns what all reasons together admit the peer as.
func (at *admitted) together() As {
	return As{NHS: at.nhs > 0, Shared: at.shared > 0}
}

// count adds n to the number of reasons of each kind that is set in as.
func (at *admitted) count(as As, n int) {
	if as.NHS {
		at.nhs += n
	}
	if as.Shared {
		at.shared += n
	}
}

// Dismiss ends a reason to admit a peer. With the last reason, the admission ends after
// AdmissionGrace; it ends at once if more addresses are admitted than the interface's limits allow
// reasons for. Dismiss does nothing to what is no reason.
func (ad *Table) Dismiss(r *Reason) {
	if !r.Peer.IsValid() {
		return
	}
	at := ad.byID[r.Peer]
	at.count(r.As, -1)
	r.Peer, r.As = peerid.ID{}, As{}
	if r.asker {
		ad.StateChanged()
	}
	at.reasons = ordered.Without(at.reasons, r)
	switch {
	case len(at.reasons) > 0:
		ad.ReviseAdmission(at.id)
	case len(ad.byID) > ad.Config.MostAdmitted():
		ad.EndAdmission(at.id)
	default:
		at.end.Run = func() { ad.EndAdmission(at.id) }
		ad.Timers.Set(&at.end, overlay.Later(ad.Now.Add(AdmissionGrace), at.until))
	}
}

// DismissAt dismisses a reason to admit a peer that was told that it may send until a time. The
// peer may not have heard that the reason ended, so the kernel takes its data until that time at
// least.
func (ad *Table) DismissAt(r *Reason, until time.Time) {
	if !r.Peer.IsValid() {
		return
	}
	at := ad.byID[r.Peer]
	at.until = overlay.Later(at.until, until)
	ad.Dismiss(r)
}

// EndAdmission has the kernel take no more data from an address, without waiting for packets in
// flight. It does nothing while there is a reason to admit the address.
func (ad *Table) EndAdmission(id peerid.ID) {
	at := ad.byID[id]
	if at == nil || len(at.reasons) > 0 {
		return
	}
	ad.Timers.Stop(&at.end)
	delete(ad.byID, id)
	ad.withdraw(at)
}

// EndAdmissions calls EndAdmission for every address, in order.
func (ad *Table) EndAdmissions() {
	for _, id := range ad.IDs() {
		ad.EndAdmission(id)
	}
}

// Addresses returns every address that there is a reason to admit, or was until a moment ago, in
// order.
func (ad *Table) IDs() []peerid.ID {
	return slices.SortedFunc(maps.Keys(ad.byID), peerid.ID.Compare)
}

// Wanted returns the peers that the kernel is to take data from, in the order of their addresses.
func (ad *Table) Wanted() []output.AdmissionChange {
	list := make([]output.AdmissionChange, 0, len(ad.byID))
	for _, at := range ordered.Values(ad.byID, peerid.ID.Compare) {
		if at.told {
			list = append(list, ad.change(at))
		}
	}
	return list
}

// change returns the wanted state of an admitted address.
func (ad *Table) change(at *admitted) output.AdmissionChange {
	return output.AdmissionChange{PeerKey: output.PeerKey{Interface: ad.Config.Name, ID: at.id},
		NHS: at.as.NHS, Shared: at.as.Shared}
}

// TakesFrom reports whether the kernel is to take data from a peer, either because there is a
// reason for the peer itself, or because it is one of the routers behind an admitted NAT address.
func (ad *Table) TakesFrom(peer peerid.ID) bool {
	if at := ad.byID[peer]; at != nil && at.told {
		return true
	}
	at := ad.byID[peerid.At(ad.peers.Outer(peer))]
	return at != nil && at.told && at.as.Shared
}
