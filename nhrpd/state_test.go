package nhrpd

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/nhrpd/packet"
	"cygnet/vici"
)

// A daemon that is killed has to know, when it runs again, what it agreed on with other routers. So
// a change is in the file a moment later.
func TestChangeIsSavedInAMoment(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		register(t, w, w.socket(0))
		time.Sleep(saveDelay)
		synctest.Wait()
		saved, err := d.state.file.Load()
		if err != nil {
			t.Fatal(err)
		}
		if len(saved.Interfaces) != 1 || len(saved.Interfaces[0].NHS) != 1 ||
			saved.Interfaces[0].NHS[0].NBMA != hubNBMA {
			t.Errorf("the registration is not in what a restart would read: %+v", saved)
		}
	})
}

// A slow disk delays only the task that saves. The loop goes on in the meantime, and the state that
// it handed over is written.
func TestSavingDoesNotHoldTheLoop(t *testing.T) {
	dir := t.TempDir()
	disk := filepath.Join(dir, "state.json.part") // a pipe: opening it waits for a reader
	if err := syscall.Mkfifo(disk, 0o600); err != nil {
		t.Fatal(err)
	}
	d := New(
		filepath.Join(dir, "cygnet.toml"),
		testConfig(t, []byte(spokeToml), dir),
		newWorld(t).platform(),
		io.Discard,
	)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	dirty := true
	if err := d.loop.call(ctx, func(time.Time) { d.loop.saveSoon() }); err != nil {
		t.Fatal(err)
	}
	for dirty {
		if err := d.loop.call(ctx, func(time.Time) { dirty = d.loop.dirty }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Status(ctx); err != nil {
		t.Errorf("while the state is being saved: %v", err)
	}
	written, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(written)
	written.Close()
	if err != nil || !strings.Contains(string(text), `"Name":"gre1"`) {
		t.Errorf("saved is %q, %v", text, err)
	}
	if err := os.Remove(disk); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
}

// A state that cannot be read does not keep the daemon from starting. A disk that failed may leave
// one, or a newer daemon. The daemon logs why it cannot read the state, and sets it aside before it
// saves its own.
func TestBrokenStateIsHarmless(t *testing.T) {
	for _, tt := range []struct{ rule, content, why string }{
		{"empty", "", "the file is empty"},
		{"cut short", `{"Version":3}` + "\n" + `{"Interface":{"Name":"gr`, "unexpected EOF"},
		{"the version before, cut short",
			`{"Version":2}` + "\n" + `{"Interface":{"Name":"gr`, "unexpected EOF"},
		{"zeros", strings.Repeat("\x00", 4096), "invalid character"},
		{"a newer daemon's", `{"Version":99}`, "a newer daemon wrote it: it is of version 99"},
		{"not an object", `7`, "cannot unmarshal number"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				out := new(bytes.Buffer)
				d := New(
					filepath.Join(dir, "cygnet.toml"),
					testConfig(t, []byte(spokeToml), dir),
					newWorld(t).platform(),
					out,
				)
				if err := os.WriteFile(d.state.file.Path(), []byte(tt.content), 0o600); err != nil {
					t.Fatal(err)
				}
				runUntilSettled(t, d)
				for _, want := range []string{
					"starting without the saved state", d.state.file.Path(), tt.why,
				} {
					if !strings.Contains(out.String(), want) {
						t.Errorf("the log does not have %q: %s", want, out)
					}
				}
				aside, err := os.ReadFile(d.state.file.Path() + ".unread")
				if err != nil || string(aside) != tt.content {
					t.Errorf("set aside is %q, %v", aside, err)
				}
				if saved, err := d.state.file.Load(); err != nil || len(saved.Interfaces) != 1 {
					t.Errorf("afterwards there is %+v, %v", saved, err)
				}
			})
		})
	}
}

// After an upgrade, the daemon takes over the file that the daemon of the version before wrote. The
// next save writes the file in this version, with the binding that the old file had.
func TestStateOfTheVersionBefore(t *testing.T) {
	const file = `{"Version":2}
{"Interface":{"Name":"gre1","NBMA":"198.51.100.7","Protected":true,"NHS":null,"Bindings":null,"Shortcuts":null,"Answers":null,"Owners":null,"Away":null}}
{"Binding":{"Protocol":"10.255.0.12","NBMA":"192.0.2.12","ClientNBMA":"192.0.2.12","Identity":"spoke2.example.net","Secured":true,"MTU":1400,"Expires":"2000-01-01T00:10:00Z"}}
`
	toml := strings.Replace(spokeToml, "shortcut = true\n", "shortcut = true\nserver = true\n", 1)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := New(
			filepath.Join(dir, "cygnet.toml"),
			testConfig(t, []byte(toml), dir),
			newWorld(t).platform(),
			io.Discard,
		)
		if err := os.WriteFile(d.state.file.Path(), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		runUntilSettled(t, d)
		text, err := os.ReadFile(d.state.file.Path())
		if err != nil || !strings.HasPrefix(string(text), `{"Version":3`) ||
			!strings.Contains(string(text), "spoke2.example.net") {
			t.Errorf("want version 3 with the client's binding, the file is %s, %v", text, err)
		}
	})
}

// Changes that keep coming do not postpone the saving, and the last of them is saved as well.
func TestChangesWithoutEndAreSaved(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		register(t, w, w.socket(0))
		change := func() {
			if err := d.loop.call(t.Context(), func(time.Time) { d.loop.saveSoon() }); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			for range 10 {
				change()
				time.Sleep(saveDelay / 4)
			}
			synctest.Wait()
			if err := os.Remove(d.state.file.Path()); err != nil {
				t.Fatalf("nothing was saved while changes came: %v", err)
			}
		}
		change()
		time.Sleep(2 * saveDelay)
		synctest.Wait()
		if _, err := os.Stat(d.state.file.Path()); err != nil {
			t.Errorf("the last change was not saved: %v", err)
		}
	})
}

// saveChanged returns how many entries it saved. If nothing changed, it saves nothing.
func TestSavedEntriesAreCounted(t *testing.T) {
	toml := strings.Replace(spokeToml, "shortcut = true\n", "shortcut = true\nserver = true\n", 1)
	inWorldOf(t, []byte(toml), func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		register(t, w, w.socket(0))
		w.events <- vici.Up{Peer: vici.Peer{
			Interface: "gre1",
			NBMA:      clientNBMA,
			Identity:  "spoke2.example.net",
		}}
		synctest.Wait()
		w.socket(0).in <- registrationOf(t, packet.CIE{PrefixLength: 32, HoldingTime: 600})
		synctest.Wait()
		for _, want := range []int{1, 0} {
			if entries, err := d.state.saveChanged(t.Context()); err != nil || entries != want {
				t.Errorf("saved %d entries, %v; want %d", entries, err, want)
			}
		}
	})
}

// The time until the next save depends on the number of entries. With up to 10,000 no change waits
// a second for it, and with any number none waits more than five seconds.
func TestRestAfterASave(t *testing.T) {
	for entries, want := range map[int]time.Duration{
		0:       0,
		3:       3 * time.Millisecond,
		1_000:   800 * time.Millisecond,
		10_000:  800 * time.Millisecond,
		20_000:  1600 * time.Millisecond,
		200_000: 5 * time.Second,
	} {
		if got := saveRest(entries); got != want {
			t.Errorf("after %d entries: %v, want %v", entries, got, want)
		}
	}
	if late := saveDelay + saveRest(10_000); late > time.Second {
		t.Errorf("a hub with 10,000 clients saves a change after %v", late)
	}
}
