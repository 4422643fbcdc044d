package engine

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/engine/timers"
)

// A peer decides how often it registers, announces, loses its SA and comes back, and each of these
// is an event for the log. The log takes eventBurst events about one peer at once, which is enough
// for a client that comes back with all its prefixes, and eventRate events a second after that.
// Further events are counted, and the log gets their number once in quietTime.
const (
	eventRate  = 1
	eventBurst = 2 * prefixesOfOne
	quietTime  = time.Minute
	mostQuiet  = 16 // peers with a line of their own; the others share one
)

// quietEvents counts the notices that are kept out of the log.
type quietEvents struct {
	of     map[holder]*quietPeer
	others int // about peers that have no entry in of
	tell   timers.Timer
}

// quietPeer counts the notices about one peer.
type quietPeer struct {
	nbma   netip.Addr // as last seen
	events int
}

// quieten reports whether to keep a notice out of the log because there were too many about its
// peer. If so, it counts the notice. Notices about no peer are never kept out, nor are those of an
// interface that leaves.
func (e *Engine) quieten(ifc *iface, n *Notice) bool {
	k := holderOf(n.Identity, n.NBMA)
	if n.Identity == "" {
		k = ifc.holderAt(n.NBMA)
	}
	if ifc.left || k == (holder{}) || ifc.limits.events.Allow(e.now, k) {
		return false
	}
	q := &ifc.quiet
	if q.of == nil {
		q.of = make(map[holder]*quietPeer)
	}
	if len(q.of) == 0 && q.others == 0 {
		e.timers.Set(&q.tell, e.now.Add(quietTime))
	}
	p := q.of[k]
	if p == nil && len(q.of) >= ifc.cfg.Limits.Bindings {
		q.others++
		return true
	}
	if p == nil {
		p = &quietPeer{}
		q.of[k] = p
	}
	p.nbma, p.events = ifc.real(n.NBMA), p.events+1
	return true
}

// tellQuiet reports how many notices about which peers were kept out of the log, beginning with the
// peer that had the most.
func (e *Engine) tellQuiet(ifc *iface) {
	q := &ifc.quiet
	e.timers.Stop(&q.tell)
	peers := make([]holder, 0, len(q.of))
	for k := range q.of {
		peers = append(peers, k)
	}
	slices.SortFunc(peers, func(a, b holder) int {
		return cmp.Or(cmp.Compare(q.of[b].events, q.of[a].events),
			strings.Compare(a.identity, b.identity), a.nbma.Compare(b.nbma))
	})
	tell := func(k holder, nbma netip.Addr, reason string) {
		e.out.Notices = append(e.out.Notices, Notice{Kind: NoticeLeftOut, Interface: ifc.cfg.Name,
			NBMA: nbma, Identity: k.identity, Reason: reason})
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
		tell(holder{}, netip.Addr{},
			fmt.Sprintf("%d events of further peers left out of the log in "+
				"the last minute", others))
	}
	q.of, q.others = nil, 0
}
