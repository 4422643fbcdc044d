package account

import (
	"fmt"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/wording"
)

// known has how this router knows where a router is.
var known = map[string]string{
	"map":      "by a static map",
	"nhs":      "as a next hop server of this router's",
	"binding":  "by its registration here",
	"shortcut": "by a shortcut",
	"relay":    "by an NHS that takes its place, since it cannot be reached directly",
}

func nextHopLines(h *api.ExplainedNextHop, now time.Time) []string {
	text := h.Protocol.String()
	if h.NBMA.IsValid() {
		text += " at " + wording.At(h.NBMA, h.Mark).String()
	}
	if h.Identity != "" {
		text += ", " + h.Identity
	}
	switch how := known[h.Known]; {
	case h.ByNHS:
		text += ": an NHS, in the place of the route's next hop, which is not known here"
	case how != "":
		text += ": known " + how
	}
	lines := []string{text}
	lines = append(lines, neighborLine(h))
	if where := wording.NAT(h.LocalNAT, h.RemoteNAT); where != "" {
		lines = append(lines, "behind NAT: "+where)
	}
	if !h.In.IsZero() || !h.Out.IsZero() {
		lines = append(lines, fmt.Sprintf("data came from it %s, went to it %s",
			whenOr(h.In, now, "never"), whenOr(h.Out, now, "never")))
	}
	if p := h.Path; p != nil {
		lines = append(lines, pathLine(p, now))
	}
	return lines
}

// neighborLine says where the kernel has a router, and who told the kernel.
func neighborLine(h *api.ExplainedNextHop) string {
	by := map[bool]string{true: "put there by cygnetd", false: "NOT put there by cygnetd"}[h.Ours]
	switch {
	case h.NeighborDrops:
		return "the kernel's entry for it, " + by + ", leads nowhere, since its router has no SA " +
			"or no device: packets for it are DROPPED"
	case h.Neighbor.IsValid():
		return fmt.Sprintf("the kernel has it at %s, %s",
			wording.At(h.Neighbor, h.NeighborMark), by)
	case h.NeighborMark != 0:
		return fmt.Sprintf("the kernel has it by the SA with mark %d, %s", h.NeighborMark, by)
	}
	return "the kernel has no neighbour for it"
}

func pathLine(p *api.Path, now time.Time) string {
	switch p.State {
	case api.PathSmall:
		return fmt.Sprintf("the direct path to it carries packets of up to %d bytes, as probed %s",
			p.MTU, wording.When(p.Since, now))
	case api.PathFailed:
		return fmt.Sprintf("the direct path to it failed %s (failures in a row: %d): %s; "+
			"it may be tried again %s",
			wording.When(p.Since, now), p.Failures, p.Reason, wording.When(p.Retry, now))
	}
	return fmt.Sprintf("the direct path to it is %s, %s", p.State, lasting(p.Since, now))
}

func bindingLines(b *api.Binding, now time.Time) []string {
	if b.Static {
		return []string{fmt.Sprintf("%s is at %s by a static map", b.Protocol, b.NBMA)}
	}
	lines := []string{fmt.Sprintf("%s registered here from %s %s, expires %s", b.Protocol,
		wording.At(b.NBMA, b.Mark), wording.When(b.Registered, now), wording.When(b.Expires, now))}
	if b.Identity != "" {
		lines[0] += ", as " + b.Identity
	}
	if len(b.Prefixes)+len(b.Reserve) > 0 {
		lines = append(lines, "it announced "+wording.Prefixes(b.Prefixes, b.Reserve))
	}
	return lines
}

func shortcutLines(s *api.Shortcut, now time.Time) []string {
	line := s.Prefix.String()
	if s.NextHop.IsValid() {
		line += fmt.Sprintf(" by %s at %s", s.NextHop, wording.At(s.NBMA, s.Mark))
	}
	line += fmt.Sprintf(": %s %s", s.State, lasting(s.Since, now))
	if !s.Used.IsZero() {
		line += ", used " + wording.When(s.Used, now)
	}
	if !s.Expires.IsZero() {
		line += ", expires " + wording.When(s.Expires, now)
	}
	return append([]string{line}, placementLines(s.Installed)...)
}

// placementLines says how the kernel gets the route of a shortcut; see api.Shortcut.Installed.
func placementLines(installed string) []string {
	switch installed {
	case "":
		return nil
	case "whole":
		return []string{"the kernel has one route for the prefix"}
	case "halves":
		return []string{"the kernel has a route for each half of the prefix, " +
			"because others have a route to the very prefix"}
	}
	return []string{"the kernel has the route in the " + installed +
		", because others have a route to the very prefix"}
}
