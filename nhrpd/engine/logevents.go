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
// is an event for the log. The log takes eventBurst events about one peer at once, enough for a
// client that comes back with all its prefixes, and eventRate a second after that. What is more is
// counted, and told once in quietTime.
const (
	eventRate  = 1
	eventBurst = 2 * prefixesOfOne
	quietTime  = time.Minute
	mostQuiet  = 16 // peers told one by one; the others are told together
)

// quietEvents counts the notices that the log does not get.
type quietEvents struct {
	of     map[holder]*quietPeer
	others int // of peers beyond those that are counted one by one
	tell   timers.Timer
}

type quietPeer struct {
	nbma   netip.Addr // as last seen
	events int
}

// quieten reports whether a notice is one too many about its peer, and counts it if so. Notices
// about no peer are never too many, nor are those of an interface that leaves.
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

// tellQuiet tells how many events about whom were left out, those about the most eventful peers
// first.
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
		tell(holder{}, netip.Addr{}, fmt.Sprintf("%d events of further peers left out of the log in "+
			"the last minute", others))
	}
	q.of, q.others = nil, 0
}
