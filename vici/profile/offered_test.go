package profile

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Charon gets the proposals with an additional key exchange only if it has it; others it gets as
// they are.
func TestOffered(t *testing.T) {
	for _, test := range []struct {
		name            string
		proposals, want []string
		known           map[string]bool
	}{
		{"it has it", []string{"a-x25519-ke1_mlkem768", "a-x25519"},
			[]string{"a-x25519-ke1_mlkem768", "a-x25519"}, map[string]bool{"mlkem768": true}},
		{"it does not", []string{"a-x25519-ke1_mlkem768", "a-x25519"}, []string{"a-x25519"}, nil},
		{"it has another", []string{"a-x25519-ke1_mlkem768", "a-x25519"}, []string{"a-x25519"},
			map[string]bool{"mlkem1024": true}},
		{"it has one of two", []string{"a-x25519-ke1_mlkem768-ke2_frodoa3",
			"a-x25519-ke1_mlkem768"}, []string{"a-x25519-ke1_mlkem768"},
			map[string]bool{"mlkem768": true}},
		{"nothing else will do", []string{"a-x25519-ke1_mlkem768"},
			[]string{"a-x25519-ke1_mlkem768"}, nil},
		{"none is asked for", []string{"a-x25519", "default"}, []string{"a-x25519", "default"},
			nil},
	} {
		got, left := offered(test.proposals, test.known)
		if diff := cmp.Diff(test.want, got); diff != "" ||
			len(got)+len(left) != len(test.proposals) {
			t.Errorf("%s: left out %q, -want +got\n%s", test.name, left, diff)
		}
	}
}
