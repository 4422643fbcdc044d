package nhrpd

import (
	"cmp"
	"context"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/kernel/multicast"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/platform"
)

// replicate copies what is sent to groups over the tunnel of a channel to the receivers, as long as
// the channel is open.
func (r *runner) replicate(ctx context.Context, ch *channel) {
	if !r.config.Multicast.On() {
		if err := r.platform.DetachMulticast(r.config.Name); err != nil {
			r.log.Warn("programs that copy packets to groups are left on the tunnel, although multicast is off",
				"error", err)
		}
		return
	}
	if !r.awaitReceivers(ctx, ch) {
		return
	}
	replicator, err := r.attachReplicator(ctx, ch)
	if err != nil {
		if ctx.Err() == nil {
			r.log.Error("nothing is sent to groups", "error", err)
		}
		return
	}
	defer replicator.Close()
	if err := replicator.Run(ctx); err != nil && ctx.Err() == nil {
		r.log.Error("the programs that copy packets to groups are not checked any more",
			"error", err)
	}
}

// awaitReceivers waits until the list of receivers is complete, if programs of an earlier run
// replicate meanwhile: those have the receivers of that run, and this run does not know its NHSs
// before it has registered with them. It returns false if the context ends first.
func (r *runner) awaitReceivers(ctx context.Context, ch *channel) bool {
	if !r.config.Multicast.NHSs || len(r.config.NHS) == 0 ||
		!r.platform.HasMulticast(r.config.Name, ch.index) {
		return true
	}
	complete := make(chan struct{})
	err := r.loop.call(ctx, func(time.Time) { r.loop.whenRegistered(r.iface, complete) })
	if err != nil {
		return false
	}
	select {
	case <-complete:
		return true
	case <-ctx.Done():
		return false
	}
}

// whenRegistered closes a channel when the interface is registered with all its NHSs, or once the
// time has passed in which what an earlier run left in the kernel may be in use.
func (l *loop) whenRegistered(i *iface, complete chan struct{}) {
	if l.settled || l.engine.RegisteredWithAll(i.name) {
		close(complete)
		return
	}
	i.complete = append(i.complete, complete)
}

// complete closes the channels of whenRegistered on interfaces that have registered.
func (l *loop) complete() {
	for i := range l.opened() {
		if len(i.complete) > 0 && l.engine.RegisteredWithAll(i.name) {
			i.completed()
		}
	}
}

// completed closes the channels of whenRegistered.
func (i *iface) completed() {
	for _, c := range i.complete {
		close(c)
	}
	i.complete = nil
}

// attachReplicator begins to replicate to the receivers that there are, and hands the replicator to
// the loop.
func (r *runner) attachReplicator(ctx context.Context, ch *channel) (platform.Replicator, error) {
	attached := make(map[multicast.Peer]bool)
	err := r.loop.call(ctx, func(time.Time) {
		for _, p := range r.iface.receivers {
			if p.Outer.IsValid() {
				attached[p] = true
			}
		}
	})
	if err != nil {
		return nil, err
	}
	c := &r.config
	cfg := multicast.Config{
		Device:    c.Name,
		Index:     ch.index,
		Companion: ch.companion,
		MaxPeers:  r.mostReceivers(),
		Groups:    multicast.Groups{Allow: c.Multicast.Allow, Deny: c.Multicast.Deny},
		Rate: multicast.Rate{
			Packets: c.Limits.MulticastPackets,
			Bytes:   c.Limits.MulticastBytes,
		},
		Relay: c.Multicast.Relay && c.Admission,
	}
	for p := range attached {
		cfg.Peers = append(cfg.Peers, p)
	}
	replicator, err := r.platform.AttachMulticast(r.log, cfg)
	if err != nil {
		return nil, err
	}
	err = r.loop.call(ctx, func(time.Time) {
		ch.replicator, ch.attached = replicator, attached
		if r.iface.channel == ch {
			r.iface.catchUpReceivers()
		}
	})
	if err != nil {
		replicator.Close()
		return nil, err
	}
	return replicator, nil
}

// companion returns what the replicator needs of the data path.
func (ch *channel) companion() (datapath.Companion, error) {
	if ch.path == nil {
		return datapath.Companion{}, datapath.ErrNoCompanion
	}
	return ch.path.Companion()
}

// mostReceivers returns room for all receivers that there may be at a time.
func (r *runner) mostReceivers() int {
	most := len(r.config.Multicast.Routers) + 16*len(r.config.NHS) + len(r.config.Maps)
	if r.config.Server && r.config.Multicast.Clients {
		most += r.config.Limits.Bindings
	}
	return min(max(most, 1), multicast.MaxPeers)
}

// setReceivers records the engine's changes of the receivers, and hands them to the replicators.
func (l *loop) setReceivers() {
	if len(l.out.Receivers) == 0 {
		return
	}
	changes := make(map[*iface][]multicast.Change)
	for _, c := range l.out.Receivers {
		i := l.iface(c.Interface)
		changes[i] = append(changes[i], i.receiverChanges(c.ID, c.Delete)...)
	}
	for i, list := range changes {
		i.hand(list)
	}
}

// receiverChanges records that a peer is a receiver, or with gone that it is none, and returns what
// the replicator has to change.
func (i *iface) receiverChanges(id peerid.ID, gone bool) []multicast.Change {
	var changes []multicast.Change
	before, was := i.receivers[id]
	now := i.receiverOf(id)
	if was && (gone || before != now) && before.Outer.IsValid() {
		changes = append(changes, multicast.Change{Peer: before, Delete: true})
	}
	if gone {
		delete(i.receivers, id)
		return changes
	}
	i.receivers[id] = now
	if (!was || before != now) && now.Outer.IsValid() {
		changes = append(changes, multicast.Change{Peer: now})
	}
	return changes
}

// receiverOf returns how the kernel sends to a peer. It has no outer address if the kernel cannot
// send to the peer now.
func (i *iface) receiverOf(id peerid.ID) multicast.Peer {
	if mark, marked := id.Mark(); marked {
		return multicast.Peer{Outer: i.marked[mark], Mark: mark}
	}
	if at := id.Address(); at.Is6() {
		link := cmp.Or(i.linked[at].index, i.leftLinks[at])
		if link == 0 {
			return multicast.Peer{}
		}
		return multicast.Peer{Outer: at, Link: link}
	}
	return multicast.Peer{Outer: id.Address()}
}

// receiverMoved hands the replicator the new outer address of a marked peer, if that is a receiver.
func (i *iface) receiverMoved(mark uint32) {
	id := peerid.Marked(mark)
	if _, is := i.receivers[id]; is {
		i.hand(i.receiverChanges(id, false))
	}
}

// hand hands changes to the replicator, if there is one. What changes before there is one is in
// catchUpReceivers.
func (i *iface) hand(changes []multicast.Change) {
	if len(changes) == 0 || i.channel == nil || i.channel.replicator == nil {
		return
	}
	if err := i.channel.replicator.Want(changes); err != nil {
		i.log.Warn("some peers get nothing that is sent to groups", "error", err)
	}
}

// catchUpReceivers hands the replicator what has changed since it was attached.
func (i *iface) catchUpReceivers() {
	if i.channel == nil || i.channel.replicator == nil || i.channel.attached == nil {
		return
	}
	gone := i.channel.attached
	i.channel.attached = nil
	var changes []multicast.Change
	for _, p := range i.receivers {
		if !gone[p] && p.Outer.IsValid() {
			changes = append(changes, multicast.Change{Peer: p})
		}
		delete(gone, p)
	}
	for p := range gone {
		changes = append(changes, multicast.Change{Peer: p, Delete: true})
	}
	i.hand(changes)
}

// multicastModes has the API's word for each mode.
var multicastModes = map[string]api.MulticastMode{
	multicast.ModeEBPF:      api.MulticastEBPF,
	multicast.ModeUserSpace: api.MulticastUserSpace,
	"":                      api.MulticastFails,
}

// multicast returns what the status says of packets to groups.
func (i *iface) multicast() *api.Multicast {
	if i.channel == nil || !i.config.Multicast.On() {
		return nil
	}
	out := &api.Multicast{Mode: api.MulticastWaits, Receivers: len(i.receivers)}
	r := i.channel.replicator
	if r == nil {
		return out
	}
	st := r.State()
	out.Mode, out.Reason, out.Error = multicastModes[st.Mode], st.Reason, st.Fault
	if st.Ahead != "" && out.Error == "" {
		out.Error = "other programs' filters run first and may take packets: " + st.Ahead
	}
	if stats, err := r.Stats(); err == nil {
		out.Packets, out.Copies = stats.Taken, stats.Copies
	}
	return out
}

// addMulticastDrops adds, by reason, the packets to groups, and copies of them, that were not sent.
func (ch *channel) addMulticastDrops(dropped map[string]uint64) {
	if ch.replicator == nil {
		return
	}
	st, err := ch.replicator.Stats()
	if err != nil {
		return
	}
	for reason, n := range map[string]uint64{
		"multicast: neighbour discovery, which NHRP replaces":         st.Discovery,
		"multicast: from the tunnel back into it":                     st.Returned,
		"multicast: multicast_allow and multicast_deny leave it out":  st.Filtered,
		"multicast: more than limits.multicast_packets or _bytes":     st.OverRate,
		"multicast: no receiver":                                      st.NoPeer,
		"multicast copy: the kernel refused its outer header":         st.NoKey,
		"multicast copy: no companion device":                         st.NoDevice,
		"multicast copy: no memory":                                   st.NoMemory,
		"multicast copy: the companion device is down or has no room": st.Refused,
	} {
		if n > 0 {
			dropped[reason] += n
		}
	}
}
