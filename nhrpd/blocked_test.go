package nhrpd

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
)

// A block is on the disk when Block returns, and the status shows it.
func TestBlockIsSaved(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		if err := d.Block(t.Context(), "hub.example.net", time.Hour); err != nil {
			t.Fatal(err)
		}
		if err := d.Block(t.Context(), "spoke2.example.net", 0); err != nil {
			t.Fatal(err)
		}
		saved, err := d.blocks.file.Load()
		if err != nil || len(saved) != 2 || saved[0].Identity != "hub.example.net" ||
			saved[0].Until.Sub(saved[0].Since) != time.Hour || !saved[1].Until.IsZero() {
			t.Errorf("saved %+v, %v", saved, err)
		}
		synctest.Wait()
		for _, want := range []string{"expel hub.example.net at 192.0.2.1", "close 192.0.2.1"} {
			if w.noted(want) < 0 {
				t.Errorf("not done: %s", want)
			}
		}
		st, err := d.Status(t.Context())
		if err != nil || len(st.Blocked) != 2 || st.Blocked[1].Identity != "spoke2.example.net" {
			t.Errorf("status %+v, %v", st.Blocked, err)
		}
		if err := d.Unblock(t.Context(), "HUB.example.net"); err != nil {
			t.Fatal(err)
		}
		if saved, _ := d.blocks.file.Load(); len(saved) != 1 {
			t.Errorf("saved after unblock: %+v", saved)
		}
	})
}

// Block refuses what cannot be an identity, and Unblock an identity that is not blocked.
func TestBlockRefusals(t *testing.T) {
	inWorld(t, func(t *testing.T, _ *world, d *Daemon) {
		for _, identity := range []string{"", " ", "a\nb", strings.Repeat("x", longestIdentity+1)} {
			if err := d.Block(t.Context(), identity, 0); !errors.Is(err, api.ErrRefused) {
				t.Errorf("block %q: %v", identity, err)
			}
		}
		if err := d.Unblock(t.Context(), "nobody"); !errors.Is(err, api.ErrRefused) {
			t.Errorf("unblock: %v", err)
		}
	})
}

// A block of an earlier run counts from the start, unless its time is over.
func TestBlocksAtStart(t *testing.T) {
	now := time.Now()
	b := blocks{loop: &loop{engine: engine.New(nil, 0)}}
	b.restore(now, []engine.Block{
		{Identity: "a", Since: now},
		{Identity: "b", Since: now, Until: now.Add(-time.Second)},
	})
	if blocked := b.loop.engine.Blocked(); len(blocked) != 1 || blocked[0].Identity != "a" {
		t.Errorf("blocked at start: %+v", blocked)
	}
}

// A reload that only changes which NHSs are used leaves the tunnel and the socket alone. Another
// NHS does not.
func TestReloadOfPrioritiesKeepsTheRunner(t *testing.T) {
	const nhs = `nhs      = [{ nbma = "hub.example.net" }]`
	with := func(lines string) config.Interface {
		return testConfig(t, []byte(strings.Replace(spokeToml, nhs, lines, 1)), "").Interfaces[0]
	}
	before := with(nhs)
	for lines, goesOn := range map[string]bool{
		`nhs = [{ nbma = "hub.example.net", priority = 3, cluster = 2 }]
nhs_cluster = [{ cluster = 2, max_connections = 1 }]
fallback_delay = "1s"`: true,
		`nhs = [{ nbma = "hub2.example.net" }]`:                               false,
		`nhs = [{ nbma = "hub.example.net" }, { nbma = "hub2.example.net" }]`: false,
		`nhs = [{ nbma = "hub.example.net", protocol = "10.255.0.1" }]`:       false,
	} {
		if got := canGoOn(before, with(lines)); got != goesOn {
			t.Errorf("with %s the runner goes on: %v, want %v", lines, got, goesOn)
		}
	}
}

// A reload that only changes peer rules leaves the tunnel and the socket alone.
func TestReloadOfRulesKeepsTheRunner(t *testing.T) {
	rules := "\n[[interface.gre1.peer]]\nidentity = \"*\"\naddresses = []\n"
	a := testConfig(t, []byte(spokeToml), "").Interfaces[0]
	b := testConfig(t, []byte(spokeToml+rules), "").Interfaces[0]
	if a.Policy.Equal(b.Policy) || !canGoOn(a, b) {
		t.Errorf("policies equal: %v, the runner goes on: %v",
			a.Policy.Equal(b.Policy), canGoOn(a, b))
	}
}
