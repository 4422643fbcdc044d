package hooks

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cygnet/nhrpd/api"
)

// journal is a daemon that has events and nothing else.
type journal struct {
	api.Daemon

	mu      sync.Mutex
	events  []api.Event
	queries []api.EventQuery

	// caughtUp, if there is one, is called when a reader asks for what comes after the last event.
	// Streams end after the last event then, so that readers ask again.
	caughtUp func()
}

func (j *journal) Events(ctx context.Context, q api.EventQuery, w api.EventWriter) error {
	j.mu.Lock()
	j.queries = append(j.queries, q)
	events, caughtUp := j.events, j.caughtUp
	j.mu.Unlock()
	if caughtUp != nil && q.After == uint64(len(events)) {
		caughtUp()
		events, caughtUp = nil, nil
	}
	if err := w.Begin(api.EventJournal{ID: "j1", Last: 7}); err != nil {
		return err
	}
	if err := w.Write(events); err != nil {
		return err
	}
	if caughtUp != nil {
		return nil
	}
	<-ctx.Done()
	return nil
}

// happened returns events of these kinds, numbered from 1 on.
func happened(kinds ...api.EventKind) (events []api.Event) {
	for i, kind := range kinds {
		events = append(events, api.Event{Number: uint64(i + 1), Event: kind, Identity: "spoke1"})
	}
	return events
}

// place is a folder with programs, and a daemon.
type place struct {
	t       *testing.T
	dir     string
	journal *journal
	client  *api.Client
	log     bytes.Buffer
}

func newPlace(t *testing.T, events []api.Event) *place {
	p := &place{t: t, dir: t.TempDir(), journal: &journal{events: events}}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := api.Listen(socket, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- api.Serve(ctx, l, p.journal, 0, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	p.client = api.Dial(socket)
	return p
}

// program writes a program for the shell. OUT in it is a file that out returns.
func (p *place) program(name, text string, mode os.FileMode) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	text = "#!/bin/sh\n" + strings.ReplaceAll(text, "OUT", p.dir+"/out.txt") + "\n"
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) out() string {
	text, _ := os.ReadFile(p.dir + "/out.txt")
	return string(text)
}

// tap is a log that a test follows, too.
type tap struct {
	slog.Handler
	records chan<- slog.Record
}

func (l *tap) Handle(ctx context.Context, r slog.Record) error {
	l.records <- r
	return l.Handler.Handle(ctx, r)
}

// count returns a number of a line of the log.
func count(r slog.Record, key string) (n uint64) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == key {
			n = a.Value.Uint64()
		}
		return true
	})
	return n
}

// runUntil runs the hooks until the position has a number, and returns what the programs wrote.
func (p *place) runUntil(number uint64, limit time.Duration) string {
	p.t.Helper()
	p.runUntilLogged(limit, func(r slog.Record) bool {
		return r.Message == "the position is saved" && count(r, "event") == number
	})
	return p.out()
}

// runUntilLogged runs the hooks until their log has a line.
func (p *place) runUntilLogged(limit time.Duration, is func(slog.Record) bool) {
	p.t.Helper()
	records := make(chan slog.Record, 4*QueueLength)
	text := slog.NewTextHandler(&p.log, &slog.HandlerOptions{Level: slog.LevelDebug})
	r := &Runner{
		Dir: p.dir, State: filepath.Join(p.dir, "position.json"), Time: limit,
		Log: slog.New(&tap{text, records}),
	}
	ctx, cancel := context.WithCancel(p.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, p.client) }()
	for found := false; !found; {
		select {
		case record := <-records:
			found = is(record)
		case err := <-done:
			p.t.Fatalf("the hooks ended early: %v\n%s", err, &p.log)
		}
	}
	cancel()
	if err := <-done; err != nil {
		p.t.Error(err)
	}
}

// Each program runs for each event that has a hook, in order, with the hook's name and the event.
func TestProgramsRun(t *testing.T) {
	p := newPlace(t, happened(api.EventPeerSecured, api.EventReloaded, api.EventHubBack))
	p.program("10-first", `echo "first $1 $CYGNET_HOOK $(cat)" >> OUT`, 0o755)
	p.program("20-second", `echo "second $1" >> OUT; echo some output`, 0o700)
	p.program("30-copy.dpkg-old", `echo wrong >> OUT`, 0o755)
	p.program("40-not-executable", `echo wrong >> OUT`, 0o644)
	p.program("50-open", `echo wrong >> OUT`, 0o777)
	got := p.runUntil(3, time.Minute)
	const e = `"time":"0001-01-01T00:00:00Z","event":"%s","level":"","text":"","identity":"spoke1"}`
	want := fmt.Sprintf(`first peer-up peer-up {"hook":"peer-up","number":1,`+e+`
second peer-up
first hub-back hub-back {"hook":"hub-back","number":3,`+e+`
second hub-back
first registered registered {"hook":"registered","number":3,`+e+`
second registered
`, "peer-secured", "hub-back", "hub-back")
	if got != want {
		t.Errorf("the programs wrote\n%s\nwant\n%s", got, want)
	}
	log := p.log.String()
	if !strings.Contains(log, `output="some output"`) || !strings.Contains(log, "50-open") {
		t.Errorf("the log has neither the output nor the program that others can change:\n%s", log)
	}
	if q := p.journal.queries[0]; !q.New || !q.Follow {
		t.Errorf("the first time it asked %+v, want what happens from now on", q)
	}
}

// Nothing runs from a folder into which others can put programs.
func TestOpenFolder(t *testing.T) {
	p := newPlace(t, happened(api.EventPeerSecured))
	p.program("p", `echo "$1" >> OUT`, 0o755)
	if err := os.Chmod(p.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if got := p.runUntil(1, time.Minute); got != "" || !strings.Contains(p.log.String(), "go-w") {
		t.Errorf("the program wrote %q; the log is\n%s", got, &p.log)
	}
}

// A restart goes on after the last event that was handled.
func TestRestartGoesOn(t *testing.T) {
	p := newPlace(t, happened(api.EventPeerSecured, api.EventPeerLost))
	p.program("p", `echo "$1" >> OUT`, 0o755)
	p.runUntil(2, time.Minute)
	p.journal.mu.Lock()
	p.journal.events = []api.Event{{Number: 3, Event: api.EventShortcutDown}}
	p.journal.mu.Unlock()
	if got, want := p.runUntil(3, time.Minute), "peer-up\npeer-down\nshortcut-down\n"; got != want {
		t.Errorf("the programs wrote %q, want %q", got, want)
	}
	if q := p.journal.queries[1]; q.After != 2 || q.Journal != "j1" {
		t.Errorf("after the restart it asked %+v, want what came after 2 of j1", q)
	}
}

// A program that does not end is killed with all that it started, and one that fails is reported.
// Neither keeps the others from running.
func TestProgramsThatFail(t *testing.T) {
	p := newPlace(t, happened(api.EventHubLost))
	p.program("1-hangs", `sleep 1000 & sleep 1000`, 0o755)
	p.program("2-fails", `echo oops >&2; exit 3`, 0o755)
	p.program("3-loud", `head -c 100000 /dev/zero | tr '\0' x`, 0o755)
	p.program("4-works", `echo "$1" >> OUT`, 0o755)
	if got := p.runUntil(1, 5*time.Second); got != "hub-lost\n" {
		t.Errorf("the last program wrote %q", got)
	}
	log := p.log.String()
	for _, want := range []string{
		"1-hangs hook=hub-lost event=1 error=\"it took too long and was killed\"",
		"2-fails hook=hub-lost event=1 output=oops error=\"exit status 3\"",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if n := strings.Count(log, "x"); n > mostOutput+200 {
		t.Errorf("the log has %d of the characters that a program printed", n)
	}
}

// Events for which the queue has no room are counted. That is reported once there is room again,
// and not only with the next event.
func TestTooSlow(t *testing.T) {
	kinds := []api.EventKind{api.EventPeerSecured}
	for range QueueLength + 10 {
		kinds = append(kinds, api.EventReloaded)
	}
	p := newPlace(t, happened(kinds...))
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	p.program("waits", "cat "+gate, 0o755) // until all events were read
	p.journal.caughtUp = func() {
		if err := os.WriteFile(gate, nil, 0o600); err != nil {
			t.Error(err)
		}
	}
	dropped := uint64(0)
	p.runUntilLogged(time.Minute, func(r slog.Record) bool {
		dropped = count(r, "events")
		return strings.HasPrefix(r.Message, "the hooks were too slow")
	})
	// The first event may have left the queue before the others came, or after them.
	if dropped != 10 && dropped != 11 {
		t.Errorf("%d events were dropped, want 10 or 11", dropped)
	}
}

// Every hook that the documentation names is run by some kind of event, and there are no others.
func TestNamesOfHooks(t *testing.T) {
	got := map[string]bool{}
	for _, hooks := range names {
		for _, h := range hooks {
			got[h] = true
		}
	}
	page, err := os.ReadFile("../../doc/events.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "## Hooks\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for h := range got {
		if !strings.Contains(section, "`"+h+"`") {
			t.Errorf("doc/events.md does not name the hook %s", h)
		}
	}
	if len(got) != 8 {
		t.Errorf("there are %d hooks, want 8: %v", len(got), got)
	}
}
