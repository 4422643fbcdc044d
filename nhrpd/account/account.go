// Package account puts an account into words: which way packets to an address go and why, the
// evidence of each step, and what can be done about it. cygnet explain and the page of cygnet web
// show the same words.
package account

import (
	"cmp"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/wording"
)

// Account is an account in words. They contain what other routers chose, such as identities, as it
// is: whoever shows them replaces the characters that control a terminal or turn the text's
// direction.
type Account struct {
	// Pair names the destination and, if the account has one, the source.
	Pair    string  `json:"pair"`
	Verdict Verdict `json:"verdict"`
	Steps   []Step  `json:"steps"`
}

// Verdict is which way packets go, and why.
type Verdict struct {
	Path api.PathKind `json:"path"`
	Text string       `json:"text"`
	Next string       `json:"next,omitempty"` // what can be done; absent: nothing has to be
}

// Step is a step of an account with its evidence.
type Step struct {
	Title string   `json:"title"`
	Lines []string `json:"lines"`
}

// Of returns an account in words.
func Of(x *api.Explanation) *Account {
	a := &Account{
		Pair:    x.Destination.String(),
		Verdict: Verdict{x.Verdict.Path, verdictText(x), nextText(x)},
		Steps:   []Step{},
	}
	if x.Source.IsValid() {
		a.Pair += " from " + x.Source.String()
	}
	for i := range x.Steps {
		a.Steps = append(a.Steps, stepOf(&x.Steps[i], x.Now))
	}
	return a
}

// Question returns the lines about this router's own question for a direct path.
func Question(x *api.Explanation) []string { return questionLines(question(x, true), x.Now) }

// stepOf returns a step in words.
func stepOf(s *api.ExplainStep, now time.Time) Step {
	switch {
	case s.Route != nil:
		return Step{"route", routeLines(s.Route)}
	case s.Tunnel != nil:
		return Step{"tunnel", tunnelLines(s.Tunnel)}
	case s.NextHop != nil:
		return Step{cmp.Or(roleTitles[s.Of], "router"), nextHopLines(s.NextHop, now)}
	case s.Binding != nil:
		return Step{"binding", bindingLines(s.Binding, now)}
	case s.Shortcut != nil:
		return Step{"shortcut", shortcutLines(s.Shortcut, now)}
	case s.Question != nil:
		return Step{"question", questionLines(s.Question, now)}
	case s.SA != nil:
		return Step{"SA", saLines(s.SA, now)}
	case s.Admission != nil:
		return Step{"admission", admissionLines(s.Admission)}
	case s.Policy != nil:
		return Step{"policy", policyLines(s.Policy, now)}
	}
	return Step{string(s.Kind), []string{"this version of cygnet does not know that step"}}
}

// roleTitles has the title of the step about each router.
var roleTitles = map[api.RouterRole]string{
	api.RoleWay:    "next hop",
	api.RoleDirect: "direct to",
	api.RoleSource: "from",
}

// whenOr returns how far a time is from now, or other words for the zero time.
func whenOr(t, now time.Time, never string) string {
	if t.IsZero() {
		return never
	}
	return wording.When(t, now)
}

// lasting says how long something has lasted.
func lasting(since, now time.Time) string {
	if since.IsZero() {
		return "for an unknown time"
	}
	return "for " + wording.Span(max(0, now.Sub(since)))
}
