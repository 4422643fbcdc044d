package account

import (
	"fmt"
	"strings"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/wording"
)

func admissionLines(a *api.ExplainedAdmission) []string {
	interest := strings.Join(a.Interest, ", ")
	if interest == "" {
		interest = "nothing"
	}
	var lines []string
	switch {
	case a.Prohibited != "":
		lines = []string{"data from it is dropped: " + a.Prohibited}
	case a.Admitted && len(a.Interest) == 0:
		lines = []string{"data from it is accepted for some more seconds, for packets in flight"}
	case a.Admitted:
		lines = []string{"data from it is accepted: NHRP knows it for " + interest}
	case a.Mode == api.AdmissionOff || a.Mode == api.AdmissionUnenforced || a.Mode == "":
		lines = []string{"data from it is accepted if it has an SA: admission is not enforced"}
	default:
		lines = []string{"data from it is DROPPED: NHRP knows it for " + interest +
			", and nobody vouched for it"}
	}
	switch {
	case a.Mode == api.AdmissionSources && a.NHS:
		lines = append(
			lines,
			"its sources are not checked, since it is an NHS and relays what others send",
		)
	case a.Mode == api.AdmissionSources:
		lines = append(lines, "source check: only from sources to which the route leads by it")
	case a.Mode != "":
		lines = append(lines, "no source check")
	}
	if a.Reason != "" {
		lines = append(lines, a.Reason)
	}
	return lines
}

// rulingLine says what the authorizer says of a router.
func rulingLine(r *api.ExplainedRuling, now time.Time) string {
	switch {
	case !r.Known:
		return "the authorizer at " + r.Socket + " has not said yet whether it may be registered"
	case r.Refused:
		return "the authorizer at " + r.Socket + " REFUSES it: " + r.Text
	}
	line := "the authorizer at " + r.Socket + " allows it"
	if r.NoShortcut {
		line += ", but NO direct paths"
	}
	if r.Ends.After(now) {
		return line + ", and is asked again in " + wording.Span(r.Ends.Sub(now))
	}
	return line + ", and is asked again now"
}

func policyLines(p *api.ExplainedPolicy, now time.Time) []string {
	var lines []string
	if p.Ruling != nil {
		lines = append(lines, rulingLine(p.Ruling, now))
	}
	for _, r := range p.Identities {
		may := func(yes bool) string {
			return map[bool]string{true: "may", false: "may NOT"}[yes]
		}
		switch {
		case r.Blocked && r.Until.IsZero():
			lines = append(lines, fmt.Sprintf("%s is BLOCKED %s, until it is taken back",
				r.Identity, lasting(r.Since, now)))
		case r.Blocked:
			lines = append(lines, fmt.Sprintf("%s is BLOCKED %s, until %s",
				r.Identity, lasting(r.Since, now), r.Until.UTC().Format(time.RFC3339)))
		case !r.Rules:
			lines = append(lines, r.Identity+": there are no peer rules, and it is not blocked")
		case r.Rule == "":
			lines = append(lines, r.Identity+": NO rule matches it, so that it may nothing")
		default:
			lines = append(
				lines,
				fmt.Sprintf("%s: rule %q (%s): it %s have %s, it %s have direct paths",
					r.Identity, r.Rule, r.Source, may(r.Address), p.Protocol, may(r.Shortcut)),
			)
		}
	}
	return lines
}
