package engine

import (
	"cmp"
	"net/netip"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/engine/resolution"
	"cygnet/nhrpd/engine/server"
	"cygnet/nhrpd/packet"
)

// leave says goodbye on an interface. It takes back what other routers learned from us, withdraws
// everything that the interface wants, and closes the SAs once all of them have replied to the
// goodbye, or have not replied to three attempts.
//
// The NHSs get their goodbye last. The other routers' replies may come through an NHS, and the NHS
// forwards them to us only while we are registered there.
func (ifc *iface) leave() {
	if ifc.Left {
		if !ifc.Leaving {
			ifc.Out.Left = append(ifc.Out.Left, ifc.Config.Name)
		}
		return
	}
	goodbyes, deregistrations := ifc.goodbyes()
	ifc.withdrawAll()
	ifc.purges.EndRevocations()
	ifc.ReportQuiet()
	ifc.Left, ifc.Leaving = true, true
	ifc.server.Drain(false)
	ifc.peers.Poll.Stop()
	ifc.client.StopLooking()
	ifc.Timers.Stop(&ifc.grace)
	ifc.deregistrations = deregistrations
	for _, p := range goodbyes {
		ifc.purges.Start(p)
	}
	ifc.leaveOn()
}

// leaveOn takes the next step of leaving, if no goodbye waits for its reply any more: first the
// goodbyes to the NHSs, then the end of the SAs.
func (ifc *iface) leaveOn() {
	if !ifc.Leaving || len(ifc.purges.ByID) > 0 {
		return
	}
	last := ifc.deregistrations
	ifc.deregistrations = nil
	for _, p := range last {
		ifc.purges.Start(p)
	}
	if len(last) == 0 {
		ifc.leaveNow()
	}
}

// leaveAtOnce does what leave does, but sends each goodbye once and waits for no reply.
func (ifc *iface) leaveAtOnce() {
	ifc.leave()
	if ifc.Leaving {
		for _, p := range ifc.deregistrations {
			ifc.purges.SendOnce(p, packet.PurgeNoReply)
		}
		ifc.leaveNow()
	}
}

// goodbyes returns the purges that take back all our answers and tell clients that we leave, and
// separately those that take back our registrations. It returns none if we have no local address to
// send from.
func (ifc *iface) goodbyes() (list, deregistrations []*purge.Request) {
	if !ifc.Local.IsValid() {
		return nil, nil
	}
	for _, a := range ordered.Values(ifc.Responder.Answers, resolution.AnswerKey.Compare) {
		if !ifc.Now.Before(a.Expires) {
			continue
		}
		p := &purge.Request{
			ID:       ifc.NewRequestID(),
			Dest:     a.Requester,
			Peer:     a.Peer,
			Prefixes: []netip.Prefix{a.Prefix},
		}
		if way, err := ifc.neighbors.PathPastShortcuts(a.Requester); err == neighbors.PathOK {
			p.Via = way.Peer // there is no path any more once everything is withdrawn
		}
		if ifc.peers.Secured(a.Peer) || p.Via.IsValid() {
			list = append(list, p)
		}
	}
	list = append(list, ifc.goodbyesToClients()...)
	return list, ifc.client.Deregister()
}

// goodbyesToClients returns the purges that tell clients that their registrations end.
func (ifc *iface) goodbyesToClients() []*purge.Request {
	var list []*purge.Request
	for _, b := range ordered.Values(ifc.server.Bindings, ordered.ByAddr) {
		if p := ifc.goodbyeToClient(b); p != nil {
			list = append(list, p)
		}
	}
	return list
}

// goodbyeToClient returns the purge that tells a client that its registration ends. It returns nil
// if the client learns of that from the end of its SA, or is not there.
func (ifc *iface) goodbyeToClient(b *server.Binding) *purge.Request {
	p := ifc.peers.ByID[b.Peer]
	if b.Static || p == nil || !p.Secured || !ifc.peers.NeededElsewhere(p) {
		return nil
	}
	return ifc.takingBack(b)
}

// takingBack returns the purge that tells a client that its registration has ended.
func (ifc *iface) takingBack(b *server.Binding) *purge.Request {
	return &purge.Request{
		ID:       ifc.NewRequestID(),
		Dest:     b.Protocol,
		Peer:     b.Peer,
		Prefixes: []netip.Prefix{overlay.HostPrefix(b.Protocol)},
	}
}

// leaveNow completes the leaving of an interface. It waits for no more replies, closes the SAs, and
// reports in Output.Left that the interface has left.
func (ifc *iface) leaveNow() {
	ifc.Leaving, ifc.deregistrations = false, nil
	for _, p := range ordered.Values(ifc.purges.ByID, cmp.Compare) {
		ifc.purges.End(p)
	}
	for _, p := range ordered.Values(ifc.peers.ByID, peerid.ID.Compare) {
		if p.Secured {
			ifc.peers.ClosePeer(p, "we leave the DMVPN")
		}
	}
	ifc.admissions.EndAdmissions()
	ifc.Out.Left = append(ifc.Out.Left, ifc.Config.Name)
}

// farewell handles a packet that arrives while the interface leaves. It takes only replies to our
// goodbyes.
func (ifc *iface) farewell(from peerid.ID, data []byte) {
	m, err := ifc.Parse(from, data)
	if err != nil || !ifc.peers.Secured(from) || m.Type != packet.PurgeReply ||
		!ifc.IsOwn(m.SourceProtocol) || !ifc.Authentic(&m) {
		ifc.Drop(overlay.DropInactive)
		return
	}
	ifc.CountReceived(m.Type)
	ifc.purges.PurgeReply(&m)
}

// withdrawAll withdraws everything that the interface wants. It leaves existing SAs alone.
func (ifc *iface) withdrawAll() {
	for _, s := range ordered.Values(ifc.Requester.Shortcuts, ordered.ByPrefix) {
		ifc.Requester.EndShortcut(s, "we leave the DMVPN")
	}
	ifc.proofs.Forget()
	ifc.Relays.DropRelaysBy(peerid.ID{})
	for _, a := range ordered.Values(ifc.Responder.Answers, resolution.AnswerKey.Compare) {
		ifc.Responder.DropAnswer(a)
	}
	ifc.server.DropAll()
	for _, n := range ifc.client.NHS {
		ifc.client.DropNHS(n)
	}
	ifc.peers.Held.Forget()
	ifc.inquiries.ForgetAll()
	ifc.Requester.Unresolved.Forget()
}
