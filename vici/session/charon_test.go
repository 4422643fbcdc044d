package session

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEventsOfVersions(t *testing.T) {
	base := []string{"ike-updown", "child-updown", "ike-rekey", "child-rekey"}
	for version, more := range map[string][]string{
		"5.9.1": nil, "5.9.2": {"ike-update"}, "5.9.14": {"ike-update"}, "5.10": {"ike-update"},
		"6.0.2": {"ike-update"},
		"6.0.3": {"ike-update", "alert"}, "6.1": {"ike-update", "alert"},
		"6.0.0rc1": {"ike-update"}, "": nil, "U5": nil,
	} {
		if diff := cmp.Diff(append(append([]string{}, base...), more...),
			EventsOf(version)); diff != "" {
			t.Errorf("%q: %s", version, diff)
		}
	}
}
