package nhrpd

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/logging"
)

// reader takes events.
type reader struct {
	journal api.EventJournal
	events  []api.Event
	err     error // what Write returns
}

func (r *reader) Begin(j api.EventJournal) error { r.journal = j; return nil }

func (r *reader) Write(events []api.Event) error {
	r.events = append(r.events, events...)
	return r.err
}

// recording returns a loop whose logger writes at a level to out and feeds the loop's journal.
func recording(out *bytes.Buffer, level slog.Level) *loop {
	logs := logging.New(out, config.Log{Level: level})
	l := newLoop(logs.Of(logging.Engine), nil, nil, nil)
	logs.OnEvent(l.happened.Record)
	return l
}

// What the engine reports is in the journal with the same words as in the log: text, addresses,
// identity and reason. It is there even if the log leaves it out because of its level.
func TestTheJournalHasWhatTheLogHas(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelError} {
		var out bytes.Buffer
		l := recording(&out, level)
		l.out.Notices = []engine.Notice{
			{
				Kind: engine.NoticePeerLost, Interface: "gre1", Identity: "spoke1",
				NBMA: netip.MustParseAddr("203.0.113.11"), Reason: "dead peer detection",
			},
			{
				Kind: engine.NoticeShortcutUp, Interface: "gre1",
				Prefix:  netip.MustParsePrefix("192.168.12.0/24"),
				NextHop: netip.MustParseAddr("10.255.0.12"), Took: 1500 * time.Millisecond,
			},
			{
				Kind: engine.NoticeRegistered, Again: true,
				Prefix: netip.MustParsePrefix("10.255.0.11/32"),
			},
		}
		l.carryOut(now)
		var r reader
		if err := l.happened.Read(t.Context(), api.EventQuery{}, &r); err != nil {
			t.Fatal(err)
		}
		want := []api.Event{
			{
				Number: 1, Time: now, Event: api.EventPeerLost, Level: api.EventWarning,
				Text: "peer lost its SA", Interface: "gre1", Identity: "spoke1",
				NBMA: netip.MustParseAddr("203.0.113.11"), Reason: "dead peer detection",
			},
			{
				Number: 2, Time: now, Event: api.EventShortcutUp, Level: api.EventInfo,
				Text: "shortcut up", Interface: "gre1",
				Prefix:  netip.MustParsePrefix("192.168.12.0/24"),
				NextHop: netip.MustParseAddr("10.255.0.12"), Took: 1.5,
			},
			{
				Number: 3, Time: now, Event: api.EventHubBack, Level: api.EventInfo,
				Text:     "the NHS is back: registered with it again",
				Protocol: netip.MustParseAddr("10.255.0.11"),
			},
		}
		if !slices.Equal(r.events, want) {
			t.Errorf("level %v: the journal has\n%+v\nwant\n%+v", level, r.events, want)
		}
		const line = `level=WARN msg="peer lost its SA" subsystem=engine event=peer-lost interface=gre1 ` +
			`nbma=203.0.113.11 identity=spoke1 reason="dead peer detection"`
		if logged := strings.Contains(out.String(), line); logged != (level == slog.LevelInfo) {
			t.Errorf("level %v: logged %s", level, out.String())
		}
	}
}

// A loss that is kept out of the log because there were too many is counted.
func TestQuietLossesAreCounted(t *testing.T) {
	l := recording(new(bytes.Buffer), slog.LevelInfo)
	now := time.Now()
	lost := engine.Notice{Kind: engine.NoticePeerLost, Interface: "gre1", Identity: "spoke1"}
	quiet := lost
	quiet.Quiet = true
	l.out.Notices = []engine.Notice{lost, quiet, quiet}
	l.carryOut(now)
	s := &api.Status{Now: now, Interfaces: []api.Interface{{
		Name: "gre1", Peers: []api.Peer{{Identity: "spoke1"}, {Identity: "spoke2"}},
	}}}
	l.happened.AddStatus(s)
	if a, b := s.Interfaces[0].Peers[0].Flaps, s.Interfaces[0].Peers[1].Flaps; a != 3 || b != 0 {
		t.Errorf("%d and %d flaps, want 3 and 0", a, b)
	}
	if s.Events.Last != 1 || s.Events.Kept != 1 || s.Events.Journal == "" {
		t.Errorf("status %+v, want one event", s.Events)
	}
}

// The kinds of events that the packages around this one log are kinds of the API.
func TestLoggedKindsExist(t *testing.T) {
	logged := regexp.MustCompile(`"event", "([a-z-]+)"`)
	found := 0
	for _, folder := range []string{"../vici", "../kernel", "."} {
		err := filepath.WalkDir(folder, func(path string, _ os.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, m := range logged.FindAllSubmatch(source, -1) {
				found++
				if !slices.Contains(api.EventKinds(), api.EventKind(m[1])) {
					t.Errorf("%s logs the event %s, which the API does not have", path, m[1])
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 5 {
		t.Errorf("found %d events in the sources, want those of vici, kernel and uplink", found)
	}
}

// At the level debug the log also has what is left out for being too much. It is no event.
func TestQuietNoticesAtDebug(t *testing.T) {
	var out bytes.Buffer
	l := recording(&out, slog.LevelDebug)
	l.out.Notices = []engine.Notice{
		{Kind: engine.NoticePrefixBound, Identity: "spoke1", Quiet: true},
	}
	l.carryOut(time.Now())
	if !strings.Contains(out.String(), "level=DEBUG") || strings.Contains(out.String(), "event=") {
		t.Errorf("logged %s", out.String())
	}
	var s api.Status
	l.happened.AddStatus(&s)
	if n := s.Events.Last; n != 0 {
		t.Errorf("the journal has %d events, want none", n)
	}
}
