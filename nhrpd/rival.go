package nhrpd

import (
	"fmt"

	"cygnet/nhrpd/api"
	"cygnet/vici"
)

// rivalProblems returns the problems of connections of others that charon chooses for our peers.
func rivalProblems(rivals []vici.Rival) []api.Problem {
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
