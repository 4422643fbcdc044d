package nhrpd

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/preflight"
)

// reportDoubts replaces what the configuration before was doubted for.
func (d *Daemon) reportDoubts(c *config.Config) {
	d.problems.resolveAll(api.ProblemConfiguration, "")
	for _, doubt := range c.Doubts {
		d.log.Error(doubt)
		d.problems.report(api.Problem{Code: api.ProblemConfiguration, Severity: api.SeverityError, Subject: doubt, Text: doubt})
	}
}

// listenAPI opens the API. A group that does not exist is reported: nobody's traffic depends on
// who may read the status.
func (d *Daemon) listenAPI() (net.Listener, error) {
	c := d.config.Daemon
	listener, err := d.platform.ListenAPI(c.APISocket, c.APIGroup)
	if !errors.Is(err, api.ErrNoGroup) {
		return listener, err
	}
	d.log.Error("only root can use the API", "error", err)
	d.problems.report(api.Problem{Code: api.ProblemAPIGroup, Severity: api.SeverityError, Subject: c.APIGroup,
		Text:   fmt.Sprintf("api_group: this host has no group %q, so only root can use cygnet", c.APIGroup),
		Remedy: fmt.Sprintf("groupadd --system %s, or correct the name, then systemctl restart cygnetd", c.APIGroup)})
	return d.platform.ListenAPI(c.APISocket, "")
}

// findingCodes are the codes of problems that come from looking at the host.
var findingCodes = map[string]api.ProblemCode{
	preflight.AboutNetwork:      api.ProblemNetwork,
	preflight.AboutRouting:      api.ProblemRouting,
	preflight.AboutCertificates: api.ProblemCertificate,
	preflight.AboutStrongswan:   api.ProblemStrongSwanSettings,
}

// findingProblem turns a finding that is more than advice into a problem; not ok: it is advice.
func findingProblem(f preflight.Finding) (p api.Problem, ok bool) {
	p = api.Problem{Code: findingCodes[f.About], Interface: f.Interface, Subject: f.Text, Text: f.Text}
	switch f.Severity {
	case preflight.Error:
		p.Severity = api.SeverityError
	case preflight.Warning:
		p.Severity = api.SeverityWarning
	default:
		return p, false
	}
	return p, true
}

// addFindings adds to a status what was found on the host: problems, or advice. Of an interface
// whose tunnel cannot be had, the reason is there already.
func addFindings(s *api.Status, found []preflight.Finding) {
	for _, f := range found {
		failed := slices.ContainsFunc(s.Interfaces, func(i api.Interface) bool {
			return i.Name == f.Interface && (i.Error != "" || i.Left)
		})
		if f.About == preflight.AboutNetwork && failed {
			continue
		}
		if p, ok := findingProblem(f); ok {
			s.Problems = append(s.Problems, p)
		} else {
			s.Advice = append(s.Advice, f.String())
		}
	}
}

// refusedProfiles reports the interfaces whose connection charon does not take.
func refusedProfiles(refused map[string]string) []api.Problem {
	var all []api.Problem
	for iface, reason := range refused {
		all = append(all, api.Problem{Code: api.ProblemProfileRefused, Severity: api.SeverityError, Interface: iface,
			Text:   fmt.Sprintf("charon does not take the connection: %s: no peer can be secured", reason),
			Remedy: "correct the ipsec table, or the connection that it names; with certificates, see that their files are there"})
	}
	slices.SortFunc(all, func(a, b api.Problem) int { return cmp.Compare(a.Interface, b.Interface) })
	return all
}
