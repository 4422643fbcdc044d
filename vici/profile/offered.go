package profile

import (
	"regexp"
	"slices"
)

// Additional key exchanges (RFC 9370), such as ML-KEM beside X25519, came with strongSwan 6.0 and
// depend on its plugins. A charon that lacks one refuses a connection that names it, as a whole. So
// proposals with a key exchange that this charon lacks are left out as long as others remain: the
// order of a list says what is best and what is good enough. A list that has nothing else is loaded
// as it is, and charon's refusal tells the administrator what is missing.

// additional finds the additional key exchanges of a proposal, such as "ke1_mlkem768".
var additional = regexp.MustCompile(`(?:^|-)ke[1-7]_([a-z0-9]+)`)

// offered splits proposals by whether charon has their additional key exchanges; known are those it
// has. If it has those of none, all are kept.
func offered(proposals []string, known map[string]bool) (kept, left []string) {
	lacks := func(ke []string) bool { return !known[ke[1]] }
	for _, proposal := range proposals {
		if slices.ContainsFunc(additional.FindAllStringSubmatch(proposal, -1), lacks) {
			left = append(left, proposal)
			continue
		}
		kept = append(kept, proposal)
	}
	if len(kept) == 0 {
		return proposals, nil
	}
	return kept, left
}

// Offered returns the profile with the proposals that a charon can have: known are its additional
// key exchanges, by their keywords in proposals.
func (p Profile) Offered(known map[string]bool) Profile {
	p.Proposals, _ = offered(orDefault(p.Proposals, DefaultProposals), known)
	p.ESPProposals, _ = offered(orDefault(p.ESPProposals, DefaultESPProposals), known)
	return p
}
