package overlay

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/timers"
)

// A peer decides how often it registers, announces, loses its SA and comes back, and each of these
// is an event for the log. The log takes EventBurst events about one peer at once, which is enough
// for a client that comes back with all its prefixes, and eventRate events a second after that.
// Further events are counted, and the log gets their number once in QuietTime.
const (
	// EventBurst is how many events about one peer the log takes at once.
	EventBurst = 2 * PrefixesOfOne

	// QuietTime is how long events are counted before the log gets their number.
	QuietTime = time.Minute

	eventRate = 1  // events about one peer in a second, after the burst
	maxNamed  = 16 // peers with a log line of their own; the others share one
)

// Notice appends a notice about an interface. It sets NBMA to the outer address of Peer, and
// Identity to the one that IKE proved of Peer if the notice has none. It marks the notice as Quiet
// if the peer has caused too many lately.
func (ifc *Interface) Notice(n output.Notice) {
	if n.Identity == "" {
		n.Identity = ifc.Peers.Identity(n.Peer)
	}
	n.Quiet = ifc.quieten(&n)
	n.Interface, n.NBMA = ifc.Config.Name, ifc.Peers.Outer(n.Peer)
	ifc.Out.Notices = append(ifc.Out.Notices, n)
}

// quietNotices counts the notices that are kept out of the log.
type quietNotices struct {
	of     map[Holder]*quietPeer
	others int          // about peers that have no entry in of
	due    timers.Timer // runs ReportQuiet
}

// quietPeer counts the notices about one peer.
type quietPeer struct {
	nbma    netip.Addr // the outer address as last seen
	notices int
}

// quieten reports whether to keep a notice out of the log because there were too many about its
// peer. If so, it counts the notice. Notices about no peer are never kept out, nor are those of an
// interface that leaves.
func (ifc *Interface) quieten(n *output.Notice) bool {
	holder := HolderOf(n.Identity, n.Peer)
	if ifc.Left || holder == (Holder{}) || ifc.Limiters.notices.Allow(ifc.Now, holder) {
		return false
	}
	ifc.countQuiet(holder, ifc.Peers.Outer(n.Peer))
	return true
}

// countQuiet counts a notice about a peer that is kept out of the log.
func (ifc *Interface) countQuiet(holder Holder, nbma netip.Addr) {
	q := &ifc.quiet
	if len(q.of) == 0 && q.others == 0 {
		q.of = make(map[Holder]*quietPeer)
		ifc.Timers.Set(&q.due, ifc.Now.Add(QuietTime))
	}
	p := q.of[holder]
	if p == nil {
		if len(q.of) >= ifc.Config.Limits.Bindings {
			q.others++
			return
		}
		p = &quietPeer{}
		q.of[holder] = p
	}
	p.nbma = nbma
	p.notices++
}

// ReportQuiet logs how many notices about which peers were kept out of the log, beginning with the
// peer that had the most. It does so in any case, without waiting for the end of QuietTime.
func (ifc *Interface) ReportQuiet() {
	q := &ifc.quiet
	ifc.Timers.Stop(&q.due)
	others := q.others
	for i, holder := range q.byNumber() {
		p := q.of[holder]
		if i >= maxNamed {
			others += p.notices
			continue
		}
		ifc.logLeftOut(holder.Identity, p.nbma,
			fmt.Sprintf("%d events left out of the log in the last minute", p.notices))
	}
	if others > 0 {
		ifc.logLeftOut("", netip.Addr{}, fmt.Sprintf(
			"%d events of further peers left out of the log in the last minute", others))
	}
	q.of, q.others = nil, 0
}

// byNumber returns the peers whose notices were kept out of the log, beginning with the peer that
// had the most.
func (q *quietNotices) byNumber() []Holder {
	return slices.SortedFunc(maps.Keys(q.of), func(a, b Holder) int {
		return cmp.Or(cmp.Compare(q.of[b].notices, q.of[a].notices),
			strings.Compare(a.Identity, b.Identity), a.Peer.Compare(b.Peer))
	})
}

// logLeftOut appends a NoticeLeftOut.
func (ifc *Interface) logLeftOut(identity string, nbma netip.Addr, reason string) {
	ifc.Out.Notices = append(ifc.Out.Notices, output.Notice{
		Kind:      output.NoticeLeftOut,
		Interface: ifc.Config.Name,
		NBMA:      nbma,
		Identity:  identity,
		Reason:    reason,
	})
}
