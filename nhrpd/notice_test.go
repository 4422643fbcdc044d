package nhrpd

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/engine"
)

// A notice beyond the limit of its peer is not logged, but what follows from the event is done: the
// state is saved. The number of such notices is logged.
func TestQuietNotices(t *testing.T) {
	var out bytes.Buffer
	l := newLoop(slog.New(slog.NewTextHandler(&out, nil)), nil, nil, nil, nil)
	l.notice(time.Now(),
		&engine.Notice{Kind: engine.NoticePrefixBound, Identity: "spoke1", Quiet: true})
	if out.Len() > 0 || !l.dirty || len(l.urgent) != 1 {
		t.Errorf("logged %q, to be saved: %v", out.String(), l.dirty)
	}
	l.notice(time.Now(),
		&engine.Notice{Kind: engine.NoticeLeftOut, Identity: "spoke1", Reason: "7 events left out"})
	for _, want := range []string{"too many events about one peer", "spoke1", "7 events left out"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("logged %q, without %q", out.String(), want)
		}
	}
}
