package nhrpd

import (
	"bytes"
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/engine"
)

// atStart runs a daemon until nothing happens by itself, with a saved state and with leftovers in
// the kernel. It returns the daemon's log and what the daemon asked for.
func atStart(
	t *testing.T, toml string, saved engine.Saved, left tunnel.Leftovers,
) (log string, asked []string) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w, out := newWorld(t), new(bytes.Buffer)
		w.leftovers = left
		d := New(
			filepath.Join(dir, "cygnet.toml"),
			testConfig(t, []byte(toml), dir),
			w.platform(),
			out,
		)
		if err := d.state.file.Save(saved); err != nil {
			t.Fatal(err)
		}
		runUntilSettled(t, d)
		log, asked = out.String(), w.record
	})
	return log, asked
}

// runUntilSettled runs a daemon in a bubble until nothing happens by itself, and ends it.
func runUntilSettled(t *testing.T, d *Daemon) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	synctest.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
}

// At its start the daemon logs for which interfaces nobody said goodbye: the configuration does not
// have them, and the kernel still has something of them.
func TestForgottenInterfacesAreTold(t *testing.T) {
	before := engine.Saved{Interfaces: []engine.SavedInterface{
		{Name: "gre1", NBMA: spokeNBMA},
		{Name: "gre8", NBMA: hubNBMA},
	}}
	guarded := []netip.Addr{spokeNBMA, hubNBMA}
	for _, c := range []struct {
		rule  string
		saved engine.Saved
		left  tunnel.Leftovers
		told  []string
	}{
		{"all are configured",
			engine.Saved{}, tunnel.Leftovers{Tunnels: []string{"gre1"}, Guarded: guarded},
			nil},
		{"a tunnel of ours",
			engine.Saved{}, tunnel.Leftovers{Tunnels: []string{"gre1", "gre7"}},
			[]string{"gre7"}},
		{"one that was there before, and is guarded",
			before, tunnel.Leftovers{Tunnels: []string{"gre1"}, Guarded: guarded},
			[]string{"gre8"}},
		{"both",
			before, tunnel.Leftovers{Tunnels: []string{"gre7"}, Guarded: guarded},
			[]string{"gre7", "gre8"}},
		{"nothing is left of it, as after a boot", before, tunnel.Leftovers{}, nil},
	} {
		t.Run(c.rule, func(t *testing.T) {
			log, _ := atStart(t, spokeToml, c.saved, c.left)
			for _, name := range []string{"gre1", "gre7", "gre8"} {
				want := false
				for _, told := range c.told {
					want = want || told == name
				}
				got := false
				for line := range strings.Lines(log) {
					got = got || strings.Contains(line, "nobody said goodbye") &&
						strings.Contains(line, "interface="+name)
				}
				if got != want {
					t.Errorf("%s is told: %v, want %v\n%s", name, got, want, log)
				}
			}
		})
	}
}

// An interface that lost its protection between two runs loses its SAs and connections at the
// start, as it would at a reload. No other interface does.
func TestStartWithoutProtectionEndsIPsec(t *testing.T) {
	clear, _, _ := strings.Cut(spokeToml, "[interface.gre1.ipsec]")
	clear += "protection = \"none\"\n"
	for _, c := range []struct {
		rule      string
		toml      string
		protected bool // in the last run
		abandons  bool
	}{
		{"it was protected and is not", clear, true, true},
		{"it never was", clear, false, false},
		{"it still is", spokeToml, true, false},
	} {
		saved := engine.Saved{Interfaces: []engine.SavedInterface{
			{Name: "gre1", Protected: c.protected},
			{Name: "gre2", Protected: true},
		}}
		_, asked := atStart(t, c.toml, saved, tunnel.Leftovers{})
		got := false
		for _, what := range asked {
			got = got || what == "abandon gre1: true, gre2: false"
		}
		if got != c.abandons {
			t.Errorf("%s: its SAs are ended: %v; asked: %q", c.rule, got, asked)
		}
	}
}
