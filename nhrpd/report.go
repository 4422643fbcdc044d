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

// reportDoubts reports the doubts about the configuration c as problems. They replace the doubts
// about the configuration before.
func (d *Daemon) reportDoubts(c *config.Config) {
	d.problems.resolveAll(api.ProblemConfiguration, "")
	for _, doubt := range c.Doubts {
		d.log.Error(doubt)
		d.problems.report(api.Problem{
			Code:     api.ProblemConfiguration,
			Severity: api.SeverityError,
			Subject:  doubt,
			Text:     doubt,
		})
	}
}

// listenAPI opens the API's socket. If the configured group does not exist, listenAPI reports that
// and lets only root use the API: no traffic depends on who may read the status.
func (d *Daemon) listenAPI() (net.Listener, error) {
	c := d.config.Daemon
	listener, err := d.platform.ListenAPI(c.APISocket, c.APIGroup)
	if !errors.Is(err, api.ErrNoGroup) {
		return listener, err
	}
	d.log.Error("only root can use the API", "error", err)
	d.problems.report(api.Problem{
		Code:     api.ProblemAPIGroup,
		Severity: api.SeverityError,
		Subject:  c.APIGroup,
		Text: fmt.Sprintf("api_group: this host has no group %q, so only root can use cygnet",
			c.APIGroup),
		Remedy: fmt.Sprintf("groupadd --system %s, or correct the name, then systemctl restart cygnetd",
			c.APIGroup),
	})
	return d.platform.ListenAPI(c.APISocket, "")
}

// findingCodes has the problem's code for each subject of a finding.
var findingCodes = map[string]api.ProblemCode{
	preflight.AboutNetwork:      api.ProblemNetwork,
	preflight.AboutRouting:      api.ProblemRouting,
	preflight.AboutCertificates: api.ProblemCertificate,
	preflight.AboutStrongswan:   api.ProblemStrongSwanSettings,
}

// findingProblem turns a finding into a problem. It returns false for a finding that is only
// advice.
func findingProblem(f preflight.Finding) (p api.Problem, ok bool) {
	p = api.Problem{
		Code:      findingCodes[f.About],
		Interface: f.Interface,
		Subject:   f.Text,
		Text:      f.Text,
	}
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

// addFindings adds findings about the host to a status, as problems or as advice. It leaves out
// what is wrong with the network of an interface whose tunnel failed, because the status tells the
// reason already, and of an interface that has left.
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

// refusedProfiles returns the problems of interfaces whose connection charon does not take. refused
// has the reasons by interface.
func refusedProfiles(refused map[string]string) []api.Problem {
	var all []api.Problem
	for iface, reason := range refused {
		all = append(all, api.Problem{
			Code:      api.ProblemProfileRefused,
			Severity:  api.SeverityError,
			Interface: iface,
			Text: fmt.Sprintf("charon does not take the connection: %s: no peer can be secured",
				reason),
			Remedy: "correct the ipsec table, or the connection that it names; with certificates, see that their files are there",
		})
	}
	slices.SortFunc(all, func(a, b api.Problem) int {
		return cmp.Compare(a.Interface, b.Interface)
	})
	return all
}
