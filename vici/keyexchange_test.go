package vici

import (
	"testing"
	"testing/synctest"
)

// The template and the peers' connections have the proposals that charon can use now, also after it
// comes back as another version.
func TestMLKEM(t *testing.T) {
	const with, without = "aes256gcm16-prfsha384-x25519-ke1_mlkem768",
		"aes256gcm16-prfsha384-x25519-ecp384"
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
		eventsNow(c)
		for _, next := range []struct {
			version string
			methods []string
			want    string
		}{
			{"5.9.8", nil, without},
			{"6.0.1", []string{"CURVE_25519", "ML_KEM_512", "ML_KEM_768"}, with},
			{"6.0.1", []string{"CURVE_25519"}, without},
			{"6.0.1", []string{"refuse to list"}, without},
		} {
			f.crash()
			f.do(func(f *fakeCharon) { f.version, f.methods = next.version, next.methods })
			f.comeBack()
			after(c, c.times.returning)
			for _, name := range []string{"cygnet-gre1", "cygnet-gre1-192.0.2.1"} {
				if got := first(f, name); got != next.want {
					t.Errorf("strongSwan %s with %v: %s proposes %q first, want %q", next.version,
						next.methods, name, got, next.want)
				}
			}
		}
	})
}
