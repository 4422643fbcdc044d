package engine

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
)

// Explain gives the account of an interface of why packets from source to dest go the way they go.
// A zero source stands for the packets of this router and of the networks behind it. It returns
// false if there is no such interface, or if the overlay has no addresses of dest's family. It
// changes nothing.
func (e *Engine) Explain(
	now time.Time, ifname string, source, dest netip.Addr,
) (report.Explanation, bool) {
	ifc := e.ifaces[ifname]
	if ifc == nil || !ifc.HasFamily(dest) {
		return report.Explanation{}, false
	}
	x := report.Explanation{
		Interface: ifname,
		Dest:      dest,
		Source:    source,
		Left:      ifc.Left,
		Local:     ifc.Local,
		Public:    ifc.client.Public(ifc.Local),
		Protected: ifc.Config.Protected,
		Shortcuts: ifc.Config.Shortcut,
		Redirect:  ifc.Config.Redirect,
		Way:       ifc.wayTo(dest),
	}
	if q := ifc.Requester.Questions.Own.Last(peerid.ID{}, dest); q != nil {
		copied := *q
		x.Question = &copied
	}
	if s := ifc.Requester.Covering(dest); s != nil {
		status := s.Status()
		x.Shortcut = &status
		if s.NextHop.IsValid() {
			x.Direct = ifc.hop(s.NextHop, s.Peer)
		}
	} else if q := x.Question; q != nil && q.NextHop.IsValid() {
		x.Direct = ifc.hop(q.NextHop, ifc.neighbors.PeerIDOf(q.NextHop, q.NextHopNBMA))
		if b := ifc.Blocks.Of(q.Identity); b != nil && len(x.Direct.Rules) == 0 {
			x.Direct.Rules = []report.RuleStatus{{Identity: q.Identity,
				Rules: ifc.Config.Policy != nil, Blocked: true, Since: b.Since, Until: b.Ends}}
		}
	}
	if source.IsValid() && ifc.HasFamily(source) {
		x.Pair = ifc.pair(source, dest)
	}
	ifc.conclude(now, &x)
	return x, true
}

// knownBy has what each rank of a claim on a neighbour means for the account.
var knownBy = map[neighbors.Rank]report.Knowledge{
	neighbors.RankMap:      report.KnownByMap,
	neighbors.RankNHS:      report.KnownAsNHS,
	neighbors.RankBinding:  report.KnownByBinding,
	neighbors.RankShortcut: report.KnownByShortcut,
	neighbors.RankRelay:    report.KnownByRelay,
}

// wayFaults has what each fault of a path means for the account.
var wayFaults = map[neighbors.PathError]report.WayFault{
	neighbors.PathNoRoute:   report.WayNoRoute,
	neighbors.PathElsewhere: report.WayElsewhere,
	neighbors.PathNoBinding: report.WayNoBinding,
}

// wayTo returns the router that packets to an address go to by the kernel's routes, without the
// shortcuts.
func (ifc *iface) wayTo(addr netip.Addr) report.Hop {
	way, fault := ifc.neighbors.PathTo(addr)
	if fault != neighbors.PathOK {
		return report.Hop{Fault: wayFaults[fault], Route: way.Route, NextHop: way.NextHop}
	}
	hop := ifc.hop(way.NextHop, way.Peer)
	hop.Route, hop.ByNHS = way.Route, way.ByNHS
	return *hop
}

// hop returns what is known of the router with an overlay address, which is a peer.
func (ifc *iface) hop(protocol netip.Addr, id peerid.ID) *report.Hop {
	hop := &report.Hop{NextHop: protocol, NHS: ifc.peers.IsNHS(id)}
	if _, rank, ok := ifc.neighbors.Lookup(protocol); ok {
		hop.Known = knownBy[rank]
	}
	if b := ifc.server.Bindings[protocol]; b != nil {
		status := b.Status()
		hop.Binding = &status
		hop.Ruling = ifc.server.RulingOf(b)
	}
	p := ifc.peers.ByID[id]
	hop.Rules = ifc.peers.RulesOf(p, protocol)
	if p != nil {
		status := ifc.peerStatus(p)
		hop.Peer = &status
	}
	return hop
}

// pair returns what is known of the packets that come from another router and go on through the
// tunnel. It returns nil if the source is this router, or is behind it.
func (ifc *iface) pair(source, dest netip.Addr) *report.Pair {
	from := ifc.wayTo(source)
	if ifc.IsOwn(source) || ifc.Table().IsLocal(source) || from.Fault == report.WayElsewhere {
		return nil
	}
	p := &report.Pair{From: from}
	if from.Peer == nil {
		return p
	}
	if q := ifc.Requester.Questions.Others.Last(from.Peer.ID, dest); q != nil {
		copied := *q
		p.Question = &copied
	}
	_, p.Withheld, _ = ifc.Requester.Withhold(from.Peer.ID, dest)
	return p
}

// conclude sets the verdict of an account.
func (ifc *iface) conclude(now time.Time, x *report.Explanation) {
	switch {
	case x.Left:
		x.Verdict = report.VerdictLeft
	case x.Way.Fault == report.WayNoRoute:
		x.Verdict = report.VerdictNoRoute
	case x.Way.Fault == report.WayElsewhere:
		x.Verdict = report.VerdictElsewhere
	case x.Way.Fault == report.WayNoBinding:
		x.Verdict = report.VerdictNoBinding
	case x.Pair != nil:
		ifc.concludePair(x)
	case x.Shortcut != nil:
		x.Verdict = underWay[x.Shortcut.State]
	case !x.Way.NHS && x.Way.Known != report.KnownByRelay,
		x.Way.NHS && !x.Way.ByNHS && x.Dest == x.Way.NextHop:
		x.Verdict = report.VerdictRouted
	default:
		concludeHub(now, x)
	}
}

// underWay has the verdict for each state of a shortcut.
var underWay = map[report.ShortcutState]report.Verdict{
	report.ShortcutResolving: report.VerdictAsking,
	report.ShortcutSecuring:  report.VerdictSecuring,
	report.ShortcutProving:   report.VerdictProving,
	report.ShortcutUp:        report.VerdictDirect,
}

// concludeHub sets the verdict of packets that go by a hub, without a shortcut or a question for
// one.
func concludeHub(now time.Time, x *report.Explanation) {
	switch q := x.Question; {
	case !x.Shortcuts:
		x.Verdict = report.VerdictOff
	case x.Direct != nil && blocked(x.Direct.Rules):
		x.Verdict = report.VerdictBlocked
	case x.Direct != nil && x.Direct.Peer != nil &&
		x.Direct.Peer.Path.State == report.PathFailed && now.Before(x.Direct.Peer.Path.Retry):
		x.Verdict, x.Detail = report.VerdictCoolDown, x.Direct.Peer.Path.Reason
		x.Until = x.Direct.Peer.Path.Retry
	case q == nil:
		x.Verdict = report.VerdictNoIndication
	case q.Ignored != "" && q.Indicated.After(q.Ended):
		x.Verdict, x.Detail = report.VerdictIgnored, q.Ignored
	default:
		x.Verdict, x.Detail = outcomes[q.Outcome], q.Reason
		if x.Verdict == report.VerdictNoSA && x.BothBehindNAT() {
			x.Verdict = report.VerdictNAT
		}
		if now.Before(q.Until) {
			x.Until = q.Until
		}
	}
}

// outcomes has the verdict for each outcome of a question that is over.
var outcomes = map[report.Outcome]report.Verdict{
	report.OutcomeNone:         report.VerdictNoIndication,
	report.OutcomeUp:           report.VerdictEnded,
	report.OutcomeUnanswered:   report.VerdictUnanswered,
	report.OutcomeRefused:      report.VerdictRefused,
	report.OutcomeNoVersion:    report.VerdictNoVersion,
	report.OutcomeError:        report.VerdictError,
	report.OutcomeInadmissible: report.VerdictInadmissible,
	report.OutcomeShared:       report.VerdictShared,
	report.OutcomeProhibited:   report.VerdictProhibited,
	report.OutcomeNoSA:         report.VerdictNoSA,
	report.OutcomePathFailed:   report.VerdictCoolDown,
	report.OutcomeEnded:        report.VerdictEnded,
}

// blocked reports whether the administrator has shut out one of the identities.
func blocked(rules []report.RuleStatus) bool {
	for i := range rules {
		if rules[i].Blocked {
			return true
		}
	}
	return false
}

// concludePair sets the verdict of packets that come from another router and go on through the
// tunnel.
func (ifc *iface) concludePair(x *report.Explanation) {
	from := &x.Pair.From
	if from.Fault != report.WayOK || from.Peer == nil {
		x.Verdict = report.VerdictNoBinding
		return
	}
	if !x.Redirect {
		x.Verdict = report.VerdictRedirectOff
		return
	}
	if why, text, withheld := ifc.Requester.Withhold(from.Peer.ID, x.Dest); withheld {
		x.Verdict, x.Detail = withheldFor(why), text
		if blocked(from.Rules) || blocked(x.Way.Rules) {
			x.Verdict = report.VerdictBlocked
		}
		return
	}
	switch q := x.Pair.Question; {
	case q == nil:
		x.Verdict = report.VerdictNoPacket
	case q.Outcome == report.OutcomeRefused:
		x.Verdict, x.Detail = report.VerdictRefused, q.CodeText
	case q.Outcome == report.OutcomeUp, !q.Asked.IsZero():
		x.Verdict = report.VerdictPassedOn
	case q.Ignored != "":
		x.Verdict, x.Detail = report.VerdictNoPacket, q.Ignored
	default:
		x.Verdict = report.VerdictIndicated
	}
}

// withheldFor returns the verdict for the reason why a router gets no indication.
func withheldFor(why overlay.DropReason) report.Verdict {
	switch why {
	case overlay.DropSameAddress:
		return report.VerdictSameNAT
	case overlay.DropProhibited:
		return report.VerdictProhibited
	case overlay.DropLoop:
		return report.VerdictSameRouter
	case overlay.DropNoBinding:
		return report.VerdictNoBinding
	}
	return report.VerdictNoRoute
}
