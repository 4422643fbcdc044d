package nhrpd

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"cygnet/vici"
)

// bothToml is a spoke with two overlays on one address.
var bothToml = []byte(spokeToml + strings.NewReplacer(
	"gre1]", "gre2]", "gre1.ipsec", "gre2.ipsec", "10.255.0.11", "10.254.0.11", "42", "43",
).Replace(spokeToml))

// Two interfaces on one underlay share the SA with the hub. strongSwan has one profile and is asked
// once, both interfaces hear of the SA, and each registers. One that leaves does nothing to the SA;
// the last one ends it.
func TestInterfacesShareTheSA(t *testing.T) {
	inWorldOf(t, bothToml, func(t *testing.T, w *world, d *Daemon) {
		w.tunnels["gre2"].states <- tunnelThere
		synctest.Wait()
		if w.noted("profile gre1 from 192.0.2.11") < 0 ||
			w.noted("profile gre2 from 192.0.2.11") >= 0 {
			t.Errorf("strongSwan has not one profile for both: %q", w.record)
		}
		secureHub(w)
		if w.noted("report gre1") < 0 {
			t.Errorf("the second interface does not hear of the SAs that there are: %q", w.record)
		}
		if got := w.wanted(hubKey); got != vici.InitiateFirst {
			t.Errorf("the hub's SA is wanted as %v, not to be initiated", got)
		}
		for i := range 2 {
			registrationIn(t, w.socket(i).packets())
		}
		st, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, other := range []string{"gre2", "gre1"} {
			ifc := st.Interfaces[i]
			if len(ifc.Peers) != 1 || !slices.Equal(ifc.SharesSAs, []string{other}) ||
				!slices.Equal(ifc.Peers[0].SASharedBy, []string{other}) {
				t.Errorf("the status of %s is %+v, with the peers %+v", ifc.Name, ifc, ifc.Peers)
			}
		}
		if sa := st.SAs[0]; sa.Interface != "gre1" || !slices.Equal(sa.SharedBy, []string{"gre2"}) {
			t.Errorf("the SA is shown as %+v", sa)
		}
		if err := d.Leave(t.Context(), "gre1"); err != nil {
			t.Fatal(err)
		}
		if w.noted("remove profile gre1") >= 0 || w.noted("close 192.0.2.1") >= 0 {
			t.Errorf("the SA ends although gre2 needs it: %q", w.record)
		}
		if err := d.Leave(t.Context(), "gre2"); err != nil {
			t.Fatal(err)
		}
		if w.noted("close 192.0.2.1") < 0 || w.noted("remove profile gre1") < 0 {
			t.Errorf("the SA stays although nobody needs it: %q", w.record)
		}
	})
}
