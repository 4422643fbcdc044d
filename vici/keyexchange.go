package vici

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"
)

// Additional key exchanges (RFC 9370), such as ML-KEM beside X25519, came with strongSwan 6.0 and depend on its plugins. A charon
// that does not have one refuses the whole connection that names it. So proposals with one that this charon lacks are left out,
// as long as others remain: a list of proposals says what is best and what is good enough. Who lists nothing else
// means it, and is told by charon that it cannot be had.

// additional finds the additional key exchanges of a proposal, such as "ke1_mlkem768".
var additional = regexp.MustCompile(`(?:^|-)ke[1-7]_([a-z0-9]+)`)

// keyExchanges asks charon which key exchanges it has, by the keywords of proposals, additional ones only.
func (s *session) keyExchanges(ctx context.Context, timeout time.Duration, version string) (map[string]bool, error) {
	if !atLeast(version, 6) {
		return nil, nil
	}
	answer, err := s.call(ctx, timeout, "get-algorithms", govici.NewMessage())
	if refused := (*CommandError)(nil); errors.As(err, &refused) {
		return nil, nil // then without: it is no reason to do without charon
	}
	if err != nil {
		return nil, err
	}
	return keywords(answer), nil
}

// keywords reads them from charon's list, which has "ML_KEM_768" for mlkem768.
func keywords(algorithms *govici.Message) map[string]bool {
	known := map[string]bool{}
	for _, name := range []string{"ke", "dh"} {
		if methods, ok := section(algorithms, name); ok {
			for _, method := range methods.Keys() {
				known[strings.ToLower(strings.ReplaceAll(method, "_", ""))] = true
			}
		}
	}
	return known
}

// offered leaves out the proposals with an additional key exchange that charon does not have.
func offered(proposals []string, known map[string]bool) (kept, left []string) {
	for _, proposal := range proposals {
		if slices.ContainsFunc(additional.FindAllStringSubmatch(proposal, -1), func(ke []string) bool { return !known[ke[1]] }) {
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

// offered is the profile as this charon can have it.
func (p Profile) offered(known map[string]bool) Profile {
	p.Proposals, _ = offered(orDefault(p.Proposals, DefaultProposals), known)
	p.ESPProposals, _ = offered(orDefault(p.ESPProposals, DefaultESPProposals), known)
	return p
}
