package main

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
)

// happened returns a few events of a spoke.
func happened() []api.Event {
	return []api.Event{
		{Number: 1, Time: ago(time.Hour), Event: api.EventRegistered, Level: api.EventInfo,
			Text: "registered with the NHS", Interface: "gre1", Protocol: addr("10.255.0.11"),
			NextHop: addr("10.255.0.1"), NBMA: addr("198.51.100.1"), Identity: "hub"},
		{Number: 2, Time: ago(time.Minute), Event: api.EventShortcutUp, Level: api.EventInfo,
			Text: "shortcut up", Interface: "gre1", Prefix: subnet("192.168.12.0/24"),
			NextHop: addr("10.255.0.12"), NBMA: addr("203.0.113.12"), Took: 0.0123},
		{Time: now, Event: api.EventGap, Level: api.EventWarning, Text: "3 events are not kept any more",
			Missing: 3},
		{Number: 6, Time: now, Event: api.EventPeerLost, Level: api.EventWarning,
			Text: "peer lost its SA", Interface: "gre1", NBMA: addr("203.0.113.12"),
			Identity: "spoke2\x1b[2J", Reason: "dead peer detection"},
		{Number: 7, Time: now, Event: api.EventReloaded, Level: api.EventInfo,
			Text: "configuration reloaded", Reason: "interfaces 1"},
	}
}

// Events are lines of text, without characters that control a terminal, or JSON objects.
func TestEvents(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
	d := &daemon{status: spoke(), events: happened()}
	socket := start(t, d)
	code, out, errs := cygnet("events", "--socket", socket)
	if code != exitOK || errs != "" {
		t.Errorf("code %d: %s", code, errs)
	}
	golden(t, "testdata/events.txt", out)
	_, out, _ = cygnet("events", "--socket", socket, "--json")
	golden(t, "testdata/events.json", out)
	_, out, _ = cygnet("peers", "--socket", socket, "203.0.113.12", "--history")
	golden(t, "testdata/history.txt", out)
	// An overlay address finds the same peer.
	_, out, _ = cygnet("peers", "--socket", socket, "10.255.0.12", "--history")
	golden(t, "testdata/history.txt", out)
	d.queries = d.queries[:len(d.queries)-1]
	if q := d.queries[len(d.queries)-1]; q.Peer != "203.0.113.12" || q.Follow {
		t.Errorf("the history asked %+v", q)
	}
}

// The arguments say which events are wanted.
func TestEventArguments(t *testing.T) {
	d := &daemon{}
	socket := start(t, d)
	code, _, errs := cygnet("events", "--socket", socket, "--since", "17", "--peer", "spoke2")
	if code != exitOK {
		t.Errorf("code %d: %s", code, errs)
	}
	if q := d.queries[0]; q.After != 17 || q.Peer != "spoke2" {
		t.Errorf("asked %+v, want what comes after 17 about spoke2", q)
	}
	for _, args := range [][]string{
		{"events", "--since", "yesterday"}, {"events", "--since", "-1h"}, {"status", "-f"},
		{"peers", "--history"},
	} {
		if code, _, errs := cygnet(append(args, "--socket", socket)...); code != exitUsage {
			t.Errorf("%q: code %d: %s", args, code, errs)
		}
	}
	if code, _, _ := cygnet("events", "-f", "--socket", socket+".none"); code != exitNotRunning {
		t.Errorf("without a daemon: code %d", code)
	}
}

// lines gives each write to a channel.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// With -f each event is written as it comes, and an interrupt is a good end.
func TestFollowEvents(t *testing.T) {
	d := &daemon{events: happened()[:2]}
	socket := start(t, d)
	ctx, cancel := context.WithCancel(t.Context())
	out := make(lines, 10)
	done := make(chan int, 1)
	go func() {
		var errs strings.Builder
		done <- run(ctx, []string{"events", "-f", "--since", "1h", "--socket", socket}, out, &errs,
			time.Now, machine, alone)
	}()
	if first := <-out; !strings.Contains(first, "registered with the NHS") {
		t.Errorf("first came %q", first)
	}
	if second := <-out; !strings.Contains(second, "shortcut up") {
		t.Errorf("second came %q", second)
	}
	cancel()
	if code := <-done; code != exitOK {
		t.Errorf("code %d", code)
	}
}

// Peers that lose their SAs again and again are named, the worst first.
func TestFlapping(t *testing.T) {
	got := flapping([]api.Peer{
		{NBMA: addr("203.0.113.1"), Flaps: 1}, {NBMA: addr("203.0.113.2"), Flaps: 2},
		{NBMA: addr("203.0.113.3"), Identity: "spoke3", Flaps: 9},
		{NBMA: addr("203.0.113.4"), Flaps: 3}, {NBMA: addr("203.0.113.5"), Flaps: 2},
	})
	const want = "spoke3 lost its SA 9 times in the last hour, 203.0.113.4 lost its SA 3 times in the last hour, " +
		"203.0.113.2 lost its SA 2 times in the last hour, and 1 more"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// cygnet(1) lists every kind of event, and the list of kinds has every kind that there is.
func TestManPageHasEveryEvent(t *testing.T) {
	source, err := os.ReadFile("../../nhrpd/api/event.go")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, m := range regexp.MustCompile(`EventKind = "(.+)"`).FindAllSubmatch(source, -1) {
		kinds[string(m[1])] = true
	}
	if n := len(api.EventKinds()); n != len(kinds)-1 || n < 40 {
		t.Errorf("EventKinds has %d kinds, the constants %d with the gap", n, len(kinds))
	}
	page, err := os.ReadFile("../../packaging/man/cygnet.1")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n.Sh EVENTS\n")
	section, _, _ = strings.Cut(section, "\n.Sh ")
	for kind := range kinds {
		if !strings.Contains(section, "\n.It Li "+kind+"\n") {
			t.Errorf("cygnet(1) does not list the event %s", kind)
		}
	}
}
