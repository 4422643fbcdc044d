package nhrpd

import (
	"slices"
	"time"

	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/tables"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/notice"
	"cygnet/nhrpd/translate"
	"cygnet/vici"
)

// carryOut does what the engine decided in this turn, and empties the engine's output. The order
// matters. The kernel has an admission before a packet tells the admitted router that it may send.
// SAs end only once the kernel has the changes of neighbours and routes.
func (l *loop) carryOut(now time.Time) {
	l.setMarked()
	l.wantEntries()
	for _, sa := range l.out.SAs {
		l.strongswan.Want(l.saKey(sa.PeerKey), translate.Want(sa.Want))
	}
	l.admit()
	l.setReceivers()
	l.send(now)
	l.complete()
	l.followNHSs()
	l.tellUplinks()
	l.closePeers()
	for _, name := range l.out.ReadUse {
		if i := l.interfaces[name]; i != nil && i.runner != nil {
			i.runner.askUse()
		}
	}
	for _, n := range l.out.Resolve {
		if i := l.interfaces[n.Interface]; i != nil && i.runner != nil {
			i.runner.askResolve(n.Name)
		}
	}
	l.askAuthorizers()
	l.logEvents(now)
	if l.out.StateChanged {
		l.saveSoon()
	}
	for _, name := range l.out.Left {
		if i := l.interfaces[name]; i != nil {
			i.goodbyeEnded()
		}
	}
	l.out.Reset()
}

// logEvents logs the events of the turn, all in one write.
func (l *loop) logEvents(now time.Time) {
	if len(l.out.Notices) == 0 {
		return
	}
	l.together(func() {
		for i := range l.out.Notices {
			l.logEvent(now, &l.out.Notices[i])
		}
	})
}

// logEvent logs one event of the engine, which also puts it into the journal, and counts what it
// says.
func (l *loop) logEvent(now time.Time, n *engine.Notice) {
	l.took.add(n)
	if n.Quiet && n.Kind == engine.NoticePeerLost { // neither the log nor the journal gets it
		l.happened.CountFlap(api.Event{
			Time: now, Interface: n.Interface, NBMA: n.NBMA, Identity: n.Identity,
		})
	}
	notice.Log(l.log, now, n)
}

// wantEntries hands changes of neighbours and routes to the kernel's reconciler, which brings them
// into the safe order.
func (l *loop) wantEntries() {
	if len(l.out.Neighbors)+len(l.out.Routes) == 0 {
		return
	}
	changes := make([]tables.Change, 0, len(l.out.Neighbors)+len(l.out.Routes))
	for _, n := range l.out.Neighbors {
		neighbor := &rtnl.Neighbor{
			Device:   n.Interface,
			Protocol: n.Protocol,
			NBMA:     l.names.LinkAddress(n.Peer),
		}
		l.names.Use(neighborUse{n.Interface, n.Protocol}, n.Peer, n.Delete)
		changes = append(changes, tables.Change{Neighbor: neighbor, Delete: n.Delete})
	}
	for _, r := range l.out.Routes {
		route := &rtnl.Route{
			Device:  r.Interface,
			Prefix:  r.Prefix,
			NextHop: r.NextHop,
			Table:   r.Table,
			Metric:  r.Metric,
			MTU:     uint32(r.MTU),
		}
		changes = append(changes, tables.Change{Route: route, Rule: r.Rule, Delete: r.Delete})
	}
	l.tables.Want(changes)
	l.dirty = true
}

// closePeers has charon end SAs, once no neighbour and no route in the kernel leads to their peers
// any more. Traffic has then fallen back to another way before the SA ends.
func (l *loop) closePeers() {
	if len(l.out.Closed)+len(l.out.Expelled) == 0 {
		return
	}
	closed, expelled := slices.Clone(l.out.Closed), slices.Clone(l.out.Expelled)
	l.tables.After(func() {
		for _, x := range expelled {
			l.strongswan.Expel(l.saKey(x.PeerKey), x.Identity)
		}
		for _, k := range closed {
			l.strongswan.Close(l.saKey(k))
		}
	})
}

// send sends the packets. Packets in a row that leave by the same interface are one batch.
func (l *loop) send(now time.Time) {
	packets := l.out.Packets
	if len(l.watchers) > 0 {
		for i := range packets {
			p := &packets[i]
			l.watched(now, l.interfaces[p.Interface], p.To, p.Data, true)
		}
	}
	for len(packets) > 0 {
		device := packets[0].Interface
		batch := l.sending[:0]
		for len(packets) > 0 && packets[0].Interface == device {
			to := l.names.LinkAddress(packets[0].To)
			batch = append(batch, nhrpsocket.Message{NBMA: to, Data: packets[0].Data})
			packets = packets[1:]
		}
		l.sendBatch(device, batch)
		clear(batch)
		l.sending = batch
	}
}

// sendBatch sends packets by one interface. Packets that are not sent are counted by reason.
func (l *loop) sendBatch(device string, batch []nhrpsocket.Message) {
	i := l.interfaces[device]
	if i == nil || i.channel == nil {
		l.sendErrors["tunnel is not up"] += uint64(len(batch))
		return
	}
	sent, err := i.channel.socket.WriteBatch(batch)
	if err == nil {
		return
	}
	l.sendErrors["kernel refused"] += uint64(len(batch) - sent)
	l.log.Warn("some NHRP packets could not be sent",
		"interface", device, "packets", len(batch)-sent, "error", err)
}

// saKey returns how strongSwan knows a peer of the engine's, as the peer of a group.
func (l *loop) saKey(k engine.PeerKey) vici.Key {
	key := translate.SAKey(k)
	key.Interface = l.groups.Of(k.Interface)
	return key
}
