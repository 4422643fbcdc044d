package statedir

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/kernel/clock"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
)

// What was saved is read again. Without a file there is no state and no error.
func TestSavedStateComesBack(t *testing.T) {
	hub := netip.MustParseAddr("192.0.2.1")
	f := State{Dir: filepath.Join(t.TempDir(), "state"), Uptime: clock.Uptime}
	if got, err := f.Load(); err != nil || len(got.Interfaces) != 0 {
		t.Fatalf("without a file: %v, %v", got, err)
	}
	want := engine.Saved{Interfaces: []engine.SavedInterface{{
		Name: "gre1",
		Bindings: []engine.SavedBinding{{
			Protocol: netip.MustParseAddr("10.255.0.1"),
			Peer:     peerid.At(hub),
			Outer:    hub,
			Identity: "hub",
			Prefixes: []netip.Prefix{netip.MustParsePrefix("172.16.1.0/24")},
			Expires:  time.Unix(1e9, 0).UTC(),
		}},
	}}}
	if err := f.Save(want); err != nil {
		t.Fatal(err)
	}
	got, err := f.Load()
	if err != nil || len(got.Interfaces) != 1 ||
		!reflect.DeepEqual(got.Interfaces[0].Bindings, want.Interfaces[0].Bindings) {
		t.Errorf("saved %v, loaded %v, %v", want, got, err)
	}
	if err := os.WriteFile(f.Path(), []byte(`{"Version": 99}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(); err == nil {
		t.Error("a file of another version was taken for one of this")
	}
}

// A clock that somebody set while no daemon ran does not change how long the saved entries are
// still valid. After a reboot only the clock tells the time.
func TestClockSetBetweenTwoRuns(t *testing.T) {
	tests := []struct {
		rule  string
		boot  string
		up    time.Duration // at the second start; at the first start it is an hour and a half
		shift time.Duration // by how much the loaded times are moved
	}{
		{"the clock was left alone", "a", 90 * time.Minute, 0},
		{"it was set forward by an hour", "a", 30 * time.Minute, time.Hour},
		{"it was set back by an hour", "a", 150 * time.Minute, -time.Hour},
		{"the machine started again", "b", time.Minute, 0},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				boot, up := "a", 90*time.Minute
				f := State{
					Dir:    t.TempDir(),
					Uptime: func() (string, time.Duration, error) { return boot, up, nil },
				}
				ends := time.Now().Add(10 * time.Minute)
				saved := engine.Saved{At: time.Now(), Interfaces: []engine.SavedInterface{{
					Bindings:  []engine.SavedBinding{{Expires: ends}},
					Shortcuts: []engine.SavedShortcut{{Expires: ends}},
					Answers:   []engine.SavedAnswer{{Expires: ends}},
				}}}
				if err := f.Save(saved); err != nil {
					t.Fatal(err)
				}
				boot, up = tt.boot, tt.up
				got, err := f.Load()
				if err != nil {
					t.Fatal(err)
				}
				ifc := got.Interfaces[0]
				for _, at := range []time.Time{
					ifc.Bindings[0].Expires, ifc.Shortcuts[0].Expires, ifc.Answers[0].Expires,
				} {
					if at.Sub(ends) != tt.shift {
						t.Errorf("moved by %s, want %s", at.Sub(ends), tt.shift)
					}
				}
			})
		})
	}
}

// The daemon's files name all routers and their addresses. Nobody else may read the files, whatever
// the umask is and whatever mode an earlier file has.
func TestStateIsForNobodyElse(t *testing.T) {
	dir := t.TempDir() + "/state"
	state := State{Dir: dir, Uptime: func() (string, time.Duration, error) {
		return "", 0, fmt.Errorf("none")
	}}
	blocked := Blocked{Dir: dir}
	for range 2 {
		if err := state.Save(engine.Saved{At: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if err := blocked.Save([]engine.Block{{Identity: "x"}}); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]os.FileMode{
			dir:            0o700,
			state.Path():   0o600,
			blocked.Path(): 0o600,
		} {
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := st.Mode().Perm(); got != want {
				t.Errorf("%s has the mode %o, want %o", path, got, want)
			}
			if path != dir {
				if err := os.Chmod(path, 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path+".part", nil, 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(path+".part", 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
