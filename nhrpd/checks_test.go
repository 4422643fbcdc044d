package nhrpd

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/preflight"
)

// The status shows what others set up around a tunnel as a problem, for as long as it lasts, and
// the log has it once. The daemon looks at the routes to the NHSs and to other peers.
func TestSurroundingsShowInStatus(t *testing.T) {
	var log bytes.Buffer
	inWorldLogging(t, &log, []byte(spokeToml), func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		finding := preflight.Finding{
			About:     preflight.AboutRouting,
			Severity:  preflight.Error,
			Interface: "gre1",
			Text:      "the route to 192.0.2.1 leads into a tunnel",
		}
		set := func(found ...preflight.Finding) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.surroundings = found
		}
		set(finding)
		got := problemsOf(t, d, api.ProblemRouting)
		if len(got) != 1 || got[0].Severity != api.SeverityError ||
			got[0].Interface != "gre1" || got[0].Text != finding.Text {
			t.Errorf("problems %v, want %q as an error of gre1", got, finding.Text)
		}
		w.mu.Lock()
		if !slices.Equal(w.outer, []netip.Addr{hubNBMA}) {
			t.Errorf("the routes to %v are looked at, want that to the hub", w.outer)
		}
		w.mu.Unlock()
		time.Sleep(3 * surroundingsInterval)
		synctest.Wait()
		if n := strings.Count(log.String(), finding.Text); n != 1 {
			t.Errorf("the log has it %d times in three minutes, want once:\n%s", n, log.String())
		}
		set()
		if got := problemsOf(t, d, api.ProblemRouting); len(got) > 0 {
			t.Errorf("problems %v after it has gone, want none", got)
		}
	})
}
