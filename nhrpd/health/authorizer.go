package health

import (
	"fmt"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/wording"
)

// authorizer reports that nobody answers who decides which routers may register.
func (r *reporter) authorizer(a *api.Authorizer, now time.Time) {
	if a == nil {
		return
	}
	p := api.Problem{Code: api.ProblemAuthorizer, Severity: api.SeverityError, Subject: a.Socket}
	means := `new routers are refused (authorize_default = "refuse")`
	if a.Default == api.AuthorizerAllows {
		p.Severity = api.SeverityWarning
		means = `new routers are allowed whatever it would say (authorize_default = "allow")`
	}
	means += "; routers that are registered stay so"
	switch {
	case !a.Connected && a.Since.IsZero():
		return // the first attempt is under way
	case !a.Connected:
		p.Since = a.Since
		p.Text = fmt.Sprintf("no connection to the authorizer at %s for %s: %s",
			a.Socket, wording.Span(now.Sub(a.Since)), means)
		p.Remedy = "start the authorizer; cygnetd connects by itself within 10 s"
	case !a.Silent.IsZero():
		p.Since = a.Silent
		p.Text = fmt.Sprintf("the authorizer at %s has not answered for %s: %s",
			a.Socket, wording.Span(now.Sub(a.Silent)), means)
		p.Remedy = "see the authorizer's log; if it needs longer, raise authorize_timeout"
	case a.Error != "":
		p.Severity = api.SeverityWarning
		p.Text = "the authorizer at " + a.Socket + " sends what cygnetd does not take; the " +
			"question counts as not answered"
		p.Remedy = "correct the authorizer: doc/authorize.md has the form of an answer"
	default:
		return
	}
	if a.Error != "" {
		p.Text += " (" + a.Error + ")"
	}
	r.add(p)
}
