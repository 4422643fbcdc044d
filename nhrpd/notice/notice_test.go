package notice

import (
	"slices"
	"testing"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
)

// Every kind of notice of the engine is an event of a kind of its own.
func TestNoticesAreEvents(t *testing.T) {
	seen := map[api.EventKind]bool{}
	for notice, s := range sentences {
		if seen[s.kind] || !slices.Contains(api.EventKinds(), s.kind) {
			t.Errorf("notice %d is the event %q, which the API lacks or another notice is",
				notice, s.kind)
		}
		seen[s.kind] = true
	}
	for kind := engine.NoticeRegistered; kind <= engine.NoticeRuling; kind++ {
		if sentences[kind].kind == "" {
			t.Errorf("notice %d has no sentence", kind)
		}
	}
}
