package overlay

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/timers"
)

// A peer decides how often it registers, announces, loses its SA and comes back, and each of these
// is an event for the log. The log takes eventBurst events about one peer at once, which is enough
// for a client that comes back with all its prefixes, and eventRate events a second after that.
// Further events are counted, and the log gets their number once in quietTime.
const (
	eventRate  = 1
	EventBurst = 2 * PrefixesOfOne
	QuietTime  = time.Minute
	mostQuiet  = 16 // peers with a line of their own; the others share one
)

// quietEvents counts the notices that are kept out of the log.
type quietEvents struct {
	of     map[Holder]*quietPeer
	others int // about peers that have no entry in of
	Tell   timers.Timer
}

// quietPeer counts the notices about one peer.
type quietPeer struct {
	nbma   netip.Addr // as last seen
	events int
}

// quieten reports whether to keep a notice out of the log because there were too many about its
// peer. If so, it counts the notice. Notices about no peer are never kept out, nor are those of an
// interface that leaves.
func (ifc *Interface) quieten(n *output.Notice) bool {
	k := HolderOf(n.Identity, n.NBMA)
	if n.Identity == "" {
		k = ifc.Peers.HolderAt(n.NBMA)
	}
	if ifc.Left || k == (Holder{}) || ifc.Limiters.events.Allow(ifc.Now, k) {
		return false
	}
	q := &ifc.Quiet
	if q.of == nil {
		q.of = make(map[Holder]*quietPeer)
	}
	if len(q.of) == 0 && q.others == 0 {
		ifc.Timers.Set(&q.Tell, ifc.Now.Add(QuietTime))
	}
	p := q.of[k]
	if p == nil && len(q.of) >= ifc.Config.Limits.Bindings {
		q.others++
		return true
	}
	if p == nil {
		p = &quietPeer{}
		q.of[k] = p
	}
	p.nbma, p.events = ifc.Peers.Outer(n.NBMA), p.events+1
	return true
}

// TellQuiet reports how many notices about which peers were kept out of the log, beginning with the
// peer that had the most.
func (ifc *Interface) TellQuiet() {
	q := &ifc.Quiet
	ifc.Timers.Stop(&q.Tell)
	peers := make([]Holder, 0, len(q.of))
	for k := range q.of {
		peers = append(peers, k)
	}
	slices.SortFunc(peers, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(q.of[b].events, q.of[a].events),
			strings.Compare(a.Identity, b.Identity), a.NBMA.Compare(b.NBMA))
	})
	tell := func(k Holder, nbma netip.Addr, reason string) {
		ifc.Out.Notices = append(
			ifc.Out.Notices,
			output.Notice{Kind: output.NoticeLeftOut, Interface: ifc.Config.Name,
				NBMA: nbma, Identity: k.Identity, Reason: reason},
		)
	}
	others := q.others
	for i, k := range peers {
		p := q.of[k]
		if i >= mostQuiet {
			others += p.events
			continue
		}
		tell(k, p.nbma, fmt.Sprintf("%d events left out of the log in the last minute", p.events))
	}
	if others > 0 {
		tell(Holder{}, netip.Addr{},
			fmt.Sprintf("%d events of further peers left out of the log in "+
				"the last minute", others))
	}
	q.of, q.others = nil, 0
}

// Notice appends a notice about an interface. It shows a peer by its outer address, and keeps the
// notice out of the log if the peer has caused too many lately.
func (ifc *Interface) Notice(n output.Notice) {
	n.Quiet = ifc.quieten(&n)
	n.Interface, n.NBMA = ifc.Config.Name, ifc.Peers.Outer(n.NBMA)
	ifc.Out.Notices = append(ifc.Out.Notices, n)
}
