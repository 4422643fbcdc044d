package cleargre

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/kernel/fence"
	"cygnet/nhrpd/api"
)

const (
	// LeakShown is how long the status shows a leak after its last packet.
	LeakShown = 10 * time.Minute

	leakLogged = 10 * time.Minute // the least time between two log lines about one peer
	mostLeaks  = 1000             // how many peers with leaks are kept for an interface
)

// record is what is known of one interface: what lets GRE pass in clear, and the peers to which GRE
// left or would have left so.
type record struct {
	causes []string
	leaks  map[netip.Addr]*loggedLeak // by peer
}

// loggedLeak is a leak, and when it was logged last.
type loggedLeak struct {
	api.ClearLeak
	logged time.Time
}

// recordOf returns the record of an interface, a new one if there is none. The caller holds the
// lock.
func (w *Watch) recordOf(iface string) *record {
	r := w.records[iface]
	if r == nil {
		r = &record{leaks: make(map[netip.Addr]*loggedLeak)}
		w.records[iface] = r
	}
	return r
}

// note records a leak, and logs it unless it logged one of that peer a short time ago.
func (w *Watch) note(iface string, l api.ClearLeak) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.recordOf(iface)
	l.Causes = r.causes
	if !r.add(l) || time.Since(r.leaks[l.Peer].logged) < leakLogged {
		return
	}
	have := r.leaks[l.Peer]
	have.logged = time.Now()
	text := "GRE left for a peer in clear: its packets were in no ESP state"
	if l.Stopped {
		text = "the kernel was about to send GRE to a peer in clear; it was stopped at the device"
	}
	w.log.Error(text,
		"interface", iface, "peer", l.Peer, "packets", have.Packets, "device", l.Device,
		"causes", l.Causes)
}

// add adds a leak to the record. It returns false if the leak tells nothing new. A leak that the
// fence stopped comes with the count of all its packets; the count of a leak that left is added to
// the earlier ones.
func (r *record) add(l api.ClearLeak) bool {
	have := r.leaks[l.Peer]
	switch {
	case have == nil:
		if time.Since(l.Last) > LeakShown || len(r.leaks) >= mostLeaks {
			return false
		}
		have = new(loggedLeak)
		r.leaks[l.Peer] = have
	case have.Stopped && l.Stopped:
		if have.Packets == l.Packets {
			return false
		}
	case !have.Stopped && !l.Stopped:
		l.Packets += have.Packets
	case l.Stopped && time.Since(l.Last) > time.Since(have.Last):
		return false // GRE that left in clear later matters more than GRE that was stopped
	}
	have.ClearLeak = l
	return true
}

// behind reports whether the fence has stopped packets that are not recorded yet.
func (w *Watch) behind(iface string, locals []netip.Addr, pairs []fence.Crossing) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.recordOf(iface)
	return slices.ContainsFunc(pairs, func(p fence.Crossing) bool {
		if !slices.Contains(locals, p.Local) || p.Out == 0 || time.Since(p.OutAt) > LeakShown {
			return false
		}
		have := r.leaks[p.Remote]
		return have == nil || have.Stopped && have.Packets != p.Out
	})
}

// leaks returns what lets GRE of an interface pass in clear, and its leaks in the order of the
// peers' addresses.
func (w *Watch) leaks(iface string) (causes []string, leaks []api.ClearLeak) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.recordOf(iface)
	leaks = []api.ClearLeak{}
	for _, peer := range slices.SortedFunc(maps.Keys(r.leaks), netip.Addr.Compare) {
		leaks = append(leaks, r.leaks[peer].ClearLeak)
	}
	return copyOf(r.causes), leaks
}

// expire forgets leaks whose last packet was long ago, and everything of interfaces that are gone.
func (w *Watch) expire(now time.Time, names map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.records, func(iface string, _ *record) bool { return !names[iface] })
	for _, r := range w.records {
		maps.DeleteFunc(r.leaks, func(_ netip.Addr, l *loggedLeak) bool {
			return now.Sub(l.Last) > LeakShown
		})
	}
}
