package nhrpd

import (
	"net/netip"
	"strings"
	"testing"

	"cygnet/nhrpd/api"
	"cygnet/vici"
)

// The status shows a connection that takes the peers of an interface as an error of the interface,
// with the remedy.
func TestRivalShowsInStatus(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		w.mu.Lock()
		w.rivals = []vici.Rival{{
			Interface:  "gre1",
			Connection: "rw",
			Peer:       netip.MustParseAddr("192.0.2.11"),
			Identity:   "spoke1.example.net",
		}}
		w.mu.Unlock()
		got := problemsOf(t, d, api.ProblemPeersTaken)
		if len(got) != 1 || got[0].Severity != api.SeverityError ||
			got[0].Interface != "gre1" || got[0].Subject != "rw" ||
			!strings.Contains(got[0].Text, "spoke1.example.net from 192.0.2.11") ||
			!strings.Contains(got[0].Remedy, "remote_identity") {
			t.Errorf("problems %+v", got)
		}
	})
}
