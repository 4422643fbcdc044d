package nhrpd

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/engine"
)

// noticeLoop returns a loop that logs to out and has nothing to do with a kernel or charon.
func noticeLoop(out io.Writer) *loop {
	return newLoop(slog.New(slog.NewTextHandler(out, nil)), nil, nil, nil)
}

// An event beyond the limit of its peer is not logged, but what follows from the event is done: the
// state is saved. The number of such events is logged.
func TestQuietNotices(t *testing.T) {
	var out bytes.Buffer
	l := noticeLoop(&out)
	l.out.StateChanged = true
	l.out.Notices = []engine.Notice{
		{Kind: engine.NoticePrefixBound, Identity: "spoke1", Quiet: true},
	}
	l.carryOut(time.Now())
	if out.Len() > 0 || !l.dirty || len(l.urgent) != 1 {
		t.Errorf("logged %q, to be saved: %v", out.String(), l.dirty)
	}
	l.out.Notices = []engine.Notice{
		{Kind: engine.NoticeLeftOut, Identity: "spoke1", Reason: "7 events left out"},
	}
	l.carryOut(time.Now())
	for _, want := range []string{"too many events about one peer", "spoke1", "7 events left out"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("logged %q, without %q", out.String(), want)
		}
	}
}

// A notice of whatever kind is a line in the log, and nothing else follows from it. The state is
// saved if the engine says that it changed.
func TestNoticesOnlyMakeLines(t *testing.T) {
	var out bytes.Buffer
	l := noticeLoop(&out)
	for kind := engine.NoticeRegistered; kind <= engine.NoticeRuling; kind++ {
		l.out.Notices = append(l.out.Notices, engine.Notice{Kind: kind, Interface: "gre1"})
	}
	kinds := len(l.out.Notices)
	l.carryOut(time.Now())
	if got := strings.Count(out.String(), "\n"); got != kinds {
		t.Errorf("logged %d lines for %d notices:\n%s", got, kinds, out.String())
	}
	if l.dirty || len(l.urgent) > 0 {
		t.Error("notices alone had the state saved")
	}
	l.out.StateChanged = true
	l.carryOut(time.Now())
	if !l.dirty || len(l.urgent) != 1 {
		t.Error("a change of the state did not have it saved")
	}
	if l.out.StateChanged {
		t.Error("the change is still in the output of the next turn")
	}
}
