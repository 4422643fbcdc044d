package status

import (
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
)

// ExplainedTunnel returns what the API shows of the tunnel in an account of the engine's.
func ExplainedTunnel(x *engine.Explanation) *api.ExplainedTunnel {
	return &api.ExplainedTunnel{
		Interface: x.Interface,
		Ours:      true,
		GRE:       true,
		Protected: x.Protected,
		Left:      x.Left,
		NBMA:      x.Local,
		Public:    x.Public,
		Shortcut:  x.Shortcuts,
		Redirect:  x.Redirect,
	}
}

// knownBy has the API's word for each source of a neighbour.
var knownBy = map[engine.Knowledge]string{
	engine.KnownByMap:      "map",
	engine.KnownAsNHS:      "nhs",
	engine.KnownByBinding:  "binding",
	engine.KnownByShortcut: "shortcut",
	engine.KnownByRelay:    "relay",
}

// ExplainedRouter returns the steps about a router in an account of the engine's: the next hop, its
// binding, IPsec, admission and policy. What charon and the kernel have is for the caller to add.
func ExplainedRouter(
	x *engine.Explanation, of api.RouterRole, h *engine.Hop, mode api.Admission, reason string,
) []api.ExplainStep {
	hop := &api.ExplainedNextHop{
		Protocol: h.NextHop,
		NHS:      h.NHS,
		ByNHS:    h.ByNHS,
		Known:    knownBy[h.Known],
	}
	steps := []api.ExplainStep{{Kind: api.StepNextHop, Of: of, NextHop: hop}}
	if h.Binding != nil {
		b := binding(x.Interface, *h.Binding)
		steps = append(steps, api.ExplainStep{Kind: api.StepBinding, Of: of, Binding: &b})
	}
	policy := explainedPolicy(of, h)
	if h.Peer == nil {
		return append(steps, policy...)
	}
	p := peer(*h.Peer)
	hop.NBMA, hop.Mark, hop.Identity = p.NBMA, p.Mark, p.Identity
	hop.LocalNAT, hop.RemoteNAT, hop.In, hop.Out, hop.Path =
		p.LocalNAT, p.RemoteNAT, p.In, p.Out, p.Path
	if x.Protected {
		steps = append(steps, api.ExplainStep{Kind: api.StepSA, Of: of, SA: &api.ExplainedSA{
			NBMA: p.NBMA, Mark: p.Mark, State: p.State, Since: p.Since, Required: true,
			Error: p.Error, Charon: []api.SA{}, Kernel: []api.ESPState{}}})
	}
	steps = append(steps, api.ExplainStep{Kind: api.StepAdmission, Of: of,
		Admission: &api.ExplainedAdmission{Mode: mode, Reason: reason, Admitted: p.Admitted,
			NHS: h.NHS, Interest: p.Interest, Prohibited: p.Prohibited}})
	return append(steps, policy...)
}

// explainedPolicy returns the step about the rules for a router, and about the authorizer's ruling;
// nothing if there are neither.
func explainedPolicy(of api.RouterRole, h *engine.Hop) []api.ExplainStep {
	if len(h.Rules) == 0 && h.Ruling == nil {
		return nil
	}
	p := &api.ExplainedPolicy{
		Protocol: h.NextHop,
		Identities: list(h.Rules, func(r engine.RuleStatus) api.ExplainedRule {
			return api.ExplainedRule(r)
		}),
	}
	if h.Ruling != nil {
		ruling := api.ExplainedRuling(*h.Ruling)
		p.Ruling = &ruling
	}
	return []api.ExplainStep{{Kind: api.StepPolicy, Of: of, Policy: p}}
}

// outcomes has the API's word for each outcome of a question.
var outcomes = map[engine.Outcome]string{
	engine.OutcomeUp:           "up",
	engine.OutcomeUnanswered:   "unanswered",
	engine.OutcomeRefused:      "refused",
	engine.OutcomeNoVersion:    "no common IP version",
	engine.OutcomeError:        "error",
	engine.OutcomeInadmissible: "answer not usable",
	engine.OutcomeShared:       "shared address",
	engine.OutcomeProhibited:   "rule",
	engine.OutcomeNoSA:         "no SA",
	engine.OutcomePathFailed:   "path failed",
	engine.OutcomeEnded:        "ended",
}

// ExplainedQuestion returns what the API shows of a question, which is this router's own or that of
// another router.
func ExplainedQuestion(q *engine.Question, own bool) *api.ExplainedQuestion {
	return &api.ExplainedQuestion{
		Own:       own,
		Indicated: q.Indicated,
		Indicator: q.Indicator,
		ByHand:    q.ByHand,
		Ignored:   q.Ignored,
		Asked:     q.Asked,
		Sent:      q.Sent,
		Via:       q.Via,
		At:        q.At,
		Answered:  q.Answered,
		Answerer:  q.Answerer,
		Code:      q.Code,
		CodeText:  q.CodeText,
		Prefix:    q.Prefix,
		NextHop:   q.NextHop,
		NBMA:      q.NextHopNBMA,
		Outcome:   outcomes[q.Outcome],
		Reason:    q.Reason,
		Ended:     q.Ended,
		Until:     q.Until,
	}
}

// Pairs returns what the API shows of what an interface remembers of the paths between others.
func Pairs(name string, pairs []engine.PairStatus) []api.Pair {
	return list(pairs, func(p engine.PairStatus) api.Pair {
		return api.Pair{Interface: name, Source: p.Source, NBMA: p.Outer, Mark: mark(p.By),
			Identity: p.Identity, Destination: p.Dest, NextHop: p.NextHop,
			Question: *ExplainedQuestion(&p.Question, false)}
	})
}

// ExplainedShortcut returns what the API shows of the shortcut in an account of the engine's.
func ExplainedShortcut(x *engine.Explanation) *api.Shortcut {
	s := shortcut(x.Interface, *x.Shortcut)
	return &s
}

// ways has the kind of way and the reason for each verdict of the engine's.
var ways = map[engine.Verdict]api.ExplainedVerdict{
	engine.VerdictDirect:    {Path: api.PathDirect},
	engine.VerdictRouted:    {Path: api.PathRouted},
	engine.VerdictLeft:      {Path: api.PathNone, Reason: api.ReasonLeft},
	engine.VerdictNoRoute:   {Path: api.PathNone, Reason: api.ReasonNoRoute},
	engine.VerdictElsewhere: {Path: api.PathElsewhere},
	engine.VerdictNoBinding: {Path: api.PathNone, Reason: api.ReasonNoBinding},

	engine.VerdictOff:          {Path: api.PathHub, Reason: api.ReasonOff},
	engine.VerdictNoIndication: {Path: api.PathHub, Reason: api.ReasonNoIndication},
	engine.VerdictIgnored:      {Path: api.PathHub, Reason: api.ReasonIgnored},
	engine.VerdictAsking:       {Path: api.PathHub, Reason: api.ReasonAsking},
	engine.VerdictSecuring:     {Path: api.PathHub, Reason: api.ReasonSecuring},
	engine.VerdictProving:      {Path: api.PathHub, Reason: api.ReasonProving},
	engine.VerdictUnanswered:   {Path: api.PathHub, Reason: api.ReasonUnanswered},
	engine.VerdictRefused:      {Path: api.PathHub, Reason: api.ReasonRefused},
	engine.VerdictNoVersion:    {Path: api.PathHub, Reason: api.ReasonNoVersion},
	engine.VerdictError:        {Path: api.PathHub, Reason: api.ReasonError},
	engine.VerdictInadmissible: {Path: api.PathHub, Reason: api.ReasonInadmissible},
	engine.VerdictShared:       {Path: api.PathHub, Reason: api.ReasonShared},
	engine.VerdictProhibited:   {Path: api.PathHub, Reason: api.ReasonProhibited},
	engine.VerdictBlocked:      {Path: api.PathHub, Reason: api.ReasonBlocked},
	engine.VerdictNoSA:         {Path: api.PathHub, Reason: api.ReasonNoSA},
	engine.VerdictNAT:          {Path: api.PathHub, Reason: api.ReasonNAT},
	engine.VerdictCoolDown:     {Path: api.PathHub, Reason: api.ReasonCoolDown},
	engine.VerdictEnded:        {Path: api.PathHub, Reason: api.ReasonEnded},

	engine.VerdictRedirectOff: {Path: api.PathHub, Reason: api.ReasonRedirectOff},
	engine.VerdictSameNAT:     {Path: api.PathHub, Reason: api.ReasonSameNAT},
	engine.VerdictSameRouter:  {Path: api.PathHub, Reason: api.ReasonSameRouter},
	engine.VerdictNoPacket:    {Path: api.PathHub, Reason: api.ReasonNoPacket},
	engine.VerdictIndicated:   {Path: api.PathHub, Reason: api.ReasonIndicated},
	engine.VerdictPassedOn:    {Path: api.PathHub, Reason: api.ReasonPassedOn},
}

// Verdict returns what the API shows of the verdict of the engine's.
func Verdict(x *engine.Explanation) api.ExplainedVerdict {
	v := ways[x.Verdict]
	v.Detail, v.Until = x.Detail, x.Until
	return v
}

// Cleared returns what the API shows of what the engine ended.
func Cleared(what api.Clearable, cleared []engine.Cleared) []api.Cleared {
	return list(cleared, func(c engine.Cleared) api.Cleared {
		return api.Cleared{What: what, Interface: c.Interface, Prefix: c.Prefix,
			Protocol: c.Protocol, NBMA: c.Outer, Identity: c.Identity, CoolDown: c.CoolDown}
	})
}
