package hostcheck

import (
	"slices"
	"testing"

	"cygnet/nhrpd/preflight"
)

// A finding is new once, and again if the check in between did not find it.
func TestFindingsAreNewOnce(t *testing.T) {
	w := NewWatch(nil)
	a, b := preflight.Finding{Text: "a"}, preflight.Finding{Text: "b"}
	for i, step := range []struct{ found, fresh []preflight.Finding }{
		{[]preflight.Finding{a}, []preflight.Finding{a}},
		{[]preflight.Finding{a, b}, []preflight.Finding{b}},
		{nil, nil},
		{[]preflight.Finding{a}, []preflight.Finding{a}},
	} {
		if fresh := w.set(step.found); !slices.Equal(fresh, step.fresh) {
			t.Errorf("step %d: %v, want %v", i+1, fresh, step.fresh)
		}
	}
}
