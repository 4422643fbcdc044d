package status

import (
	"cmp"
	"fmt"
	"slices"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/preflight"
	"cygnet/vici"
)

// findingCodes has the problem's code for each subject of a finding.
var findingCodes = map[string]api.ProblemCode{
	preflight.AboutNetwork:      api.ProblemNetwork,
	preflight.AboutRouting:      api.ProblemRouting,
	preflight.AboutUnderlay:     api.ProblemUnderlayRouting,
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

// AddFindings adds findings about the host to a status, as problems or as advice. It leaves out
// what is wrong with the network of an interface whose tunnel failed, because the status tells the
// reason already, and of an interface that has left.
func AddFindings(s *api.Status, found []preflight.Finding) {
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

// RefusedProfiles returns the problems of interfaces whose connection charon does not take. refused
// has the reasons by interface.
func RefusedProfiles(refused map[string]string) []api.Problem {
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

// Rivals returns the problems of connections of others that charon chooses for our peers.
func Rivals(rivals []vici.Rival) []api.Problem {
	var all []api.Problem
	for _, v := range rivals {
		all = append(all, api.Problem{
			Code:      api.ProblemPeersTaken,
			Severity:  api.SeverityError,
			Interface: v.Interface,
			Subject:   v.Connection,
			Text: fmt.Sprintf("charon chooses the connection %s, which is not the daemon's, for routers that dial in, last for %s from %s: they get "+
				"SAs in tunnel mode by it, do not take them, and are never secured",
				v.Connection, v.Identity, v.Peer),
			Remedy: fmt.Sprintf("set remote_identity in [interface.%s.ipsec] of this router to what the identities of the routers have in common, "+
				"such as \"*.example.net\", so that charon prefers the daemon's connection; or narrow remote id or remote_addrs of %s",
				v.Interface, v.Connection),
		})
	}
	return all
}
