package vici

import (
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// Charon gets the proposals with an additional key exchange only if it has it; others it gets as they are.
func TestOffered(t *testing.T) {
	for _, test := range []struct {
		name            string
		proposals, want []string
		known           map[string]bool
	}{
		{"it has it", []string{"a-x25519-ke1_mlkem768", "a-x25519"}, []string{"a-x25519-ke1_mlkem768", "a-x25519"}, map[string]bool{"mlkem768": true}},
		{"it does not", []string{"a-x25519-ke1_mlkem768", "a-x25519"}, []string{"a-x25519"}, nil},
		{"it has another", []string{"a-x25519-ke1_mlkem768", "a-x25519"}, []string{"a-x25519"}, map[string]bool{"mlkem1024": true}},
		{"it has one of two", []string{"a-x25519-ke1_mlkem768-ke2_frodoa3", "a-x25519-ke1_mlkem768"}, []string{"a-x25519-ke1_mlkem768"}, map[string]bool{"mlkem768": true}},
		{"nothing else will do", []string{"a-x25519-ke1_mlkem768"}, []string{"a-x25519-ke1_mlkem768"}, nil},
		{"none is asked for", []string{"a-x25519", "default"}, []string{"a-x25519", "default"}, nil},
	} {
		got, left := offered(test.proposals, test.known)
		if diff := cmp.Diff(test.want, got); diff != "" || len(got)+len(left) != len(test.proposals) {
			t.Errorf("%s: left out %q, -want +got\n%s", test.name, left, diff)
		}
	}
}

// Template and peers' connections follow what the charon of now can do, also when it comes back as another.
func TestMLKEM(t *testing.T) {
	const with, without = "aes256gcm16-prfsha384-x25519-ke1_mlkem768", "aes256gcm16-prfsha384-x25519-ecp384"
	first := func(f *fakeCharon, name string) (got string) {
		f.do(func(f *fakeCharon) {
			if conn := f.conns[name]; conn != nil {
				got = conn.values["proposals"].([]string)[0]
			}
		})
		return got
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.onInitiate = succeed
		c := start(t, f)
		c.Want(key("192.0.2.1"), Initiate)
		told(c)
		for _, next := range []struct {
			version string
			methods []string
			want    string
		}{
			{"5.9.8", nil, without},
			{"6.0.1", []string{"CURVE_25519", "ML_KEM_512", "ML_KEM_768"}, with},
			{"6.0.1", []string{"CURVE_25519"}, without},
			{"6.0.1", []string{"refuse to tell"}, without},
		} {
			f.crash()
			f.do(func(f *fakeCharon) { f.version, f.methods = next.version, next.methods })
			f.back()
			after(c, c.times.returning)
			for _, name := range []string{"cygnet-gre1", "cygnet-gre1-192.0.2.1"} {
				if got := first(f, name); got != next.want {
					t.Errorf("strongSwan %s with %v: %s proposes %q first, want %q", next.version, next.methods, name, got, next.want)
				}
			}
		}
	})
}
