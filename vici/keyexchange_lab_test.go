//go:build lab

package vici

import (
	"strings"
	"testing"
)

// Two charons that have ML-KEM use it beside X25519, for IKE and, from the first rekeying on, for
// ESP; with one that does not, none is asked for. Which of the two it is, the charon of the lab
// decides.
func TestKeyExchange(t *testing.T) {
	r, _, spoke := pair(t)
	has := strings.Contains(r[1].swanctl("--list-algs"), "ML_KEM_768")
	t.Logf("charon %s has ML-KEM: %v", spoke.Status().Version, has)
	if list := r[1].swanctl("--list-sas"); strings.Contains(list, "ML_KEM_768") != has ||
		!strings.Contains(list, "CURVE_25519") {
		t.Errorf("charon has ML-KEM: %v, and lists\n%s", has, list)
	}
	before := spoke.SAs()[0].Children[0].SPIIn
	r[1].swanctl("--rekey", "--child", "gre")
	eventually(t, "the new CHILD_SA", func() bool {
		children := spoke.SAs()[0].Children
		return len(children) == 1 && children[0].SPIIn != before
	})
	if list := r[1].swanctl("--list-sas"); strings.Count(list,
		"ML_KEM_768") != map[bool]int{true: 2}[has] {
		t.Errorf("after the rekeying charon lists\n%s", list)
	}
}

// A charon with ML-KEM and this machine's own, which may be older: they agree on X25519, whoever
// dials.
func TestKeyExchangeWithAnother(t *testing.T) {
	r := routers(t, 2)
	r[0].kill()
	// another strongSwan is mounted there, if the lab uses one
	r[0].before = "{ umount /usr/lib/ipsec 2>/dev/null || true; } && "
	r[0].start()
	w := []*watch{r[0].client(), r[1].client()}
	for i := range w {
		w[i].SetProfile(r[i].applied())
		eventually(t, "the templates", func() bool { return r[i].loaded("cygnet-gre1") })
	}
	t.Logf("charon %s and charon %s", w[0].Status().Version, w[1].Status().Version)
	both := strings.Contains(r[0].swanctl("--list-algs"), "ML_KEM_768") &&
		strings.Contains(r[1].swanctl("--list-algs"), "ML_KEM_768")
	for i := range w {
		w[i].Want(r[1-i].key(), Initiate)
		w[i].up(r[1-i].key())
		w[1-i].up(r[i].key()) // or the next round would take this event for its own
		if list := r[i].swanctl("--list-sas"); strings.Contains(list, "ML_KEM_768") != both ||
			!strings.Contains(list, "CURVE_25519") {
			t.Errorf("both have ML-KEM: %v, and charon lists\n%s", both, list)
		}
		w[i].Want(r[1-i].key(), Accept)
		w[i].Close(r[1-i].key())
		w[i].down(r[1-i].key())
		w[1-i].down(r[i].key())
		eventually(t, "the end of the SA", func() bool { return len(w[1-i].SAs()) == 0 })
	}
}
