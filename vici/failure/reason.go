package failure

import "strings"

// Reason is why an attempt fails.
type Reason struct {
	Cause Cause
	Said  string // the log message or alert; empty: charon said nothing
}

// Cause sorts failures by what the administrator has to check.
type Cause uint8

// The causes.
const (
	NoAnswer       Cause = iota
	Authentication       // one end does not accept the other's proof
	NoSecret             // no PSK for the two identities
	NoKey                // no private key for this end's certificate
	Untrusted            // the peer's certificate is not trusted
	WrongIdentity        // the peer is another one than the configuration wants
	Proposals            // no common algorithms
	Selectors            // the peer does not let GRE through
	Unsupported          // charon lacks an algorithm
	Unknown              // charon did not say
	NoChild              // there is an IKE_SA, and no SA for GRE came of it
	NotAllowed           // the SA is not one that the profile allows
	NotBegun             // charon did not begin at all
	Ended                // the SA ended before it was used
)

// causeNames has the name of each cause.
var causeNames = [...]string{
	NoAnswer:       "no answer",
	Authentication: "authentication",
	NoSecret:       "no secret",
	NoKey:          "no key",
	Untrusted:      "untrusted",
	WrongIdentity:  "wrong identity",
	Proposals:      "proposals",
	Selectors:      "selectors",
	Unsupported:    "unsupported",
	Unknown:        "unknown",
	NoChild:        "no child",
	NotAllowed:     "not allowed",
	NotBegun:       "not begun",
	Ended:          "ended",
}

// NoneYet returns a count of 0 for each cause, so that none comes up later.
func NoneYet() map[string]uint64 {
	counts := make(map[string]uint64, len(causeNames))
	for _, name := range causeNames {
		counts[name] = 0
	}
	return counts
}

// String returns the name of the cause, under which failures are counted.
func (c Cause) String() string { return causeNames[c] }

// sign is a part of charon's messages that tells a cause.
type sign struct {
	piece string
	cause Cause
}

// signs are parts of charon's log messages and alert types at the end that dials. If several fit,
// the first one counts.
var signs = []sign{
	{"no shared key found", NoSecret},
	{"no private key found", NoKey},
	{"no trusted", Untrusted},
	{"no issuer certificate found", Untrusted},
	{"certificate expired", Untrusted},
	{"certificate was revoked", Untrusted},
	{"constraint check failed", WrongIdentity},
	{"not supported", Unsupported},
	{"MAC mismatched", Authentication},
	{"AUTHENTICATION_FAILED", Authentication},
	{"auth-failed", Authentication},
	{"NO_PROPOSAL_CHOSEN", Proposals},
	{"INVALID_KE_PAYLOAD notify error", Proposals},
	{"proposal-mismatch", Proposals},
	{"TS_UNACCEPTABLE", Selectors},
	{"ts-mismatch", Selectors},
	{"giving up after", NoAnswer},
	{"unreachable", NoAnswer},
}

// inboundSigns are parts of charon's log messages at the end that is dialled.
var inboundSigns = []sign{
	{"no matching peer config found", WrongIdentity},
	{"no alternative config found", WrongIdentity},
	{"MAC mismatched", Authentication},
	{"no shared key found", NoSecret},
	{"no private key found", NoKey},
	{"no trusted", Untrusted},
	{"no issuer certificate found", Untrusted},
	{"certificate expired", Untrusted},
	{"certificate was revoked", Untrusted},
	{"constraint check failed", WrongIdentity},
}

// Of returns the reason that a line of charon's log or an alert gives for the failure of an attempt
// that this end makes. ok is false if it gives none.
func Of(line string) (reason Reason, ok bool) { return find(signs, line) }

// Alert returns an alert's type in the form that [Of] reads.
func Alert(value string) string { return strings.ReplaceAll(strings.ToLower(value), "_", "-") }

func find(among []sign, line string) (Reason, bool) {
	for _, s := range among {
		if strings.Contains(line, s.piece) {
			return Reason{s.cause, line}, true
		}
	}
	return Reason{}, false
}
