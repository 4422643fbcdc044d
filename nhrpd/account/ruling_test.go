package account

import (
	"testing"
	"time"

	"cygnet/nhrpd/api"
)

// The account of a router names what the authorizer says of it.
func TestExplainedRuling(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		ruling api.ExplainedRuling
		want   string
	}{
		{api.ExplainedRuling{},
			"the authorizer at /run/a has not said yet whether it may be registered"},
		{api.ExplainedRuling{Known: true, Refused: true, Text: "locked"},
			"the authorizer at /run/a REFUSES it: locked"},
		{api.ExplainedRuling{Known: true, NoShortcut: true, Ends: now.Add(time.Minute)},
			"the authorizer at /run/a allows it, but NO direct paths, and is asked again in 1m0s"},
		{api.ExplainedRuling{Known: true, Ends: now},
			"the authorizer at /run/a allows it, and is asked again now"},
	} {
		tt.ruling.Socket = "/run/a"
		lines := policyLines(&api.ExplainedPolicy{Ruling: &tt.ruling}, now)
		if len(lines) != 1 || lines[0] != tt.want {
			t.Errorf("want %q, have %q", tt.want, lines)
		}
	}
}
