package nhrpd

import (
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/kernel/multicast"
	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/vici"
)

// iface is what the loop owns of one interface. Only the loop's goroutine uses it.
//
// An interface is open from the time that its runner starts until the runner has stopped. The loop
// also has an iface for a closed interface with marked peers or receivers: the engine knows such
// peers of the last run before the interface opens, and of a changed interface while it opens anew.
type iface struct {
	name string
	// marked has the outer address of each peer that the engine knows by a mark; see marks.go.
	marked map[uint32]netip.Addr

	// linked has the peers at IPv6 addresses that have an SA; see links.go.
	linked map[netip.Addr]linkedPeer

	// leftLinks has the indexes of the links that an earlier run left, by the addresses of their
	// peers, until this run has found them or released them.
	leftLinks map[netip.Addr]int

	// receivers has the peers that get what this router sends to groups, and how the kernel sends
	// to them.
	receivers map[peerid.ID]multicast.Peer

	// The rest is zero while the interface is closed.
	config  config.Interface
	runner  *runner
	log     *slog.Logger
	closing bool          // the interface takes no channel any more
	channel *channel      // nil while there is no tunnel
	state   tunnel.State  // where the tunnel is
	fault   string        // why there is no tunnel, or what is wrong with it
	left    chan struct{} // closed when the goodbye has ended; nil unless one is under way

	// unannounced has the peers that share an address, until it is known whether the kernel can
	// give their packets marks.
	unannounced []vici.Peer
	marksFault  string // why the kernel cannot give packets marks

	hubs hubsKnown // what the uplinks were told last

	complete []chan struct{} // see whenRegistered
	usable   bool            // an NHS has been usable since the interface opened
}

// iface returns what the loop owns of an interface. It makes a closed iface if there is none.
func (l *loop) iface(name string) *iface {
	i := l.interfaces[name]
	if i == nil {
		i = &iface{
			name:      name,
			receivers: make(map[peerid.ID]multicast.Peer),
			marked:    make(map[uint32]netip.Addr),
			linked:    make(map[netip.Addr]linkedPeer),
			leftLinks: make(map[netip.Addr]int),
		}
		l.interfaces[name] = i
	}
	return i
}

// open opens the interface of a runner.
func (l *loop) open(r *runner) {
	i := l.iface(r.config.Name)
	i.runner, i.config, i.log = r, r.config, r.log
	r.iface = i
}

// opened returns the open interfaces.
func (l *loop) opened() iter.Seq[*iface] {
	return func(yield func(*iface) bool) {
		for _, i := range l.interfaces {
			if i.runner != nil && !yield(i) {
				return
			}
		}
	}
}

// closing has the interface let go of its channel and take no other, before its runner stops.
func (l *loop) closing(name string) {
	i := l.iface(name)
	i.channel, i.closing = nil, true
}

// closed records that the runner of an interface has stopped. Functions that the runner had queued
// for the loop may still run. They find the iface of before, which takes no channel any more.
func (l *loop) closed(name string) {
	closed := l.iface(name)
	closed.completed()
	delete(l.interfaces, name)
	if len(closed.marked)+len(closed.receivers)+len(closed.linked) > 0 {
		i := l.iface(name)
		i.marked, i.receivers, i.linked = closed.marked, closed.receivers, closed.linked
	}
}

// path returns the programs on the tunnel; nil if there are none.
func (i *iface) path() datapath.Path {
	if i.channel == nil {
		return nil
	}
	return i.channel.path
}

// failed records why there is no tunnel.
func (i *iface) failed(err error) {
	i.fault = err.Error()
	i.runner.tried()
}

// moved records where the tunnel of an open interface is now, which channel leads to it, and why
// the channel could not be opened. It tells the engine the tunnel's address.
func (l *loop) moved(now time.Time, i *iface, st tunnel.State, ch *channel, fault error) {
	if i.closing {
		return
	}
	if i.state.Local != st.Local || i.state.Local6 != st.Local6 {
		// At the next boot, stopped.GuardEarly takes the address to guard from the saved state.
		l.saveSoon()
	}
	i.channel, i.state, i.fault = ch, st, ""
	l.catchUp(i)
	i.catchUpReceivers()
	if fault == nil {
		fault = l.sharesAddress(i)
	}
	if fault != nil {
		i.fault = fault.Error()
	}
	if st.Fault != "" {
		i.fault = st.Fault
	}
	i.setMarked(i.marked)
	if ch != nil && ch.links != nil {
		l.wantLinks(i)
	}
	l.engine.Handle(now, localAddress(i.name, st), &l.out)
	if ch != nil && i.runner.startedAnew {
		i.runner.startedAnew = false
		l.engine.RegisterNow(now, i.name, &l.out)
	}
	i.runner.tried()
}

// localAddress returns the engine's event about the addresses that a tunnel sends from.
func localAddress(name string, st tunnel.State) engine.LocalAddress {
	if !st.Local.IsValid() {
		return engine.LocalAddress{Interface: name, NBMA: st.Local6}
	}
	return engine.LocalAddress{Interface: name, NBMA: st.Local, Second: st.Local6}
}

// sharesAddress returns an error that names another protected tunnel which sends from the same
// address as this one although their underlays are written differently. The check of the
// configuration cannot find this case: one interface may name a device and the other an address,
// and only the running system shows that the device has that address.
func (l *loop) sharesAddress(i *iface) error {
	if !i.config.Protected {
		return nil
	}
	for other := range l.opened() {
		if other == i || !other.config.Protected || other.config.SharesUnderlay(&i.config) {
			continue
		}
		local := i.state.Shared(other.state)
		if !local.IsValid() {
			continue
		}
		err := fmt.Errorf(
			"%s sends from %s as well, and an SA is for all GRE between two addresses: write underlay the same way in both (%s has %q), so that their SAs agree, or give one of the two another address of this router",
			other.name,
			local,
			other.name,
			other.config.Underlay,
		)
		i.log.Error("two protected tunnels on one address", "error", err)
		return err
	}
	return nil
}

// goodbyeEnded records that the interface has said goodbye.
func (i *iface) goodbyeEnded() {
	if i.left != nil {
		close(i.left)
		i.left = nil
	}
}
