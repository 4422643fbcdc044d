package nhrpd

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cygnet/nhrpd/api"
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
		saved, err := d.blocks.load()
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
		if saved, _ := d.blocks.load(); len(saved) != 1 {
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

// The file keeps its form over versions: a block must not be lost in an upgrade.
func TestFormOfTheBlockedFile(t *testing.T) {
	const form = `[
  {
    "Identity": "a",
    "Since": "2026-11-30T12:00:00Z",
    "Until": "0001-01-01T00:00:00Z"
  }
]
`
	f := blockedFile{dir: t.TempDir()}
	if err := os.WriteFile(f.path(), []byte(form), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []engine.Block{
		{Identity: "a", Since: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)},
	}
	got, err := f.load()
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Fatalf("loaded with error %v (- want, + got):\n%s", err, d)
	}
	if err := f.save(want); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(f.path()); err != nil || string(data) != form {
		t.Errorf("saved with error %v:\n%swant:\n%s", err, data, form)
	}
}

// A block outlasts the daemon, unless its time is over. A list that cannot be read keeps the daemon
// from starting, so that it lets in nobody by accident.
func TestBlockedFile(t *testing.T) {
	f := blockedFile{dir: t.TempDir() + "/new"}
	if got, err := f.load(); err != nil || got != nil {
		t.Errorf("no file: %v %v", got, err)
	}
	now := time.Now()
	want := []engine.Block{
		{Identity: "a", Since: now},
		{Identity: "b", Since: now, Until: now.Add(-time.Second)},
	}
	if err := f.save(want); err != nil {
		t.Fatal(err)
	}
	got, err := f.load()
	if err != nil || len(got) != 2 || !got[0].Since.Equal(now) {
		t.Errorf("loaded %+v, %v", got, err)
	}
	b := blocks{loop: &loop{engine: engine.New(nil, 0)}}
	b.restore(now, got)
	if blocked := b.loop.engine.Blocked(); len(blocked) != 1 || blocked[0].Identity != "a" {
		t.Errorf("blocked at start: %+v", blocked)
	}
	if err := os.WriteFile(f.path(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.load(); err == nil ||
		!strings.Contains(err.Error(), "remove the file to start with nobody blocked") {
		t.Errorf("a broken file: %v", err)
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
