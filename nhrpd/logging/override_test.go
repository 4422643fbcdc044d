package logging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/config"
)

// logAt logs a line of a level at a time, and reports whether it was written.
func logAt(
	l *slog.Logger, out *bytes.Buffer, at time.Time, level slog.Level, attrs ...any,
) bool {
	out.Reset()
	if !l.Enabled(context.Background(), level) {
		return false
	}
	r := slog.NewRecord(at, level, "text", 0)
	r.Add(attrs...)
	_ = l.Handler().Handle(context.Background(), r)
	return out.Len() > 0
}

// A level for a peer lets pass what concerns the peer: by a part of its identity, by an address of
// it or by one that belongs to the identity. Others keep the configured level. It ends in time.
func TestOverrideForAPeer(t *testing.T) {
	var out bytes.Buffer
	logs := New(&out, config.Log{Level: slog.LevelInfo})
	l := logs.Of(VICI)
	now := time.Now()
	for _, o := range []Override{
		{Level: slog.LevelDebug, Peer: "Spoke2", Until: now.Add(time.Minute),
			Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.12")}},
		{Level: slog.LevelDebug, Peer: "198.51.100.0/24"},
	} {
		if err := logs.Override(o, now); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		key, value string
		want       bool
	}{
		{"identity", "CN=spoke2", true},
		{"identity", "CN=spoke3", false},
		{"reason", "spoke2", false},
		{"nbma", "192.0.2.12", true},
		{"peer", "{gre1 192.0.2.12}", true},
		{"nbma", "192.0.2.120", false},
		{"nbma", "198.51.100.7", true},
	} {
		if got := logAt(l, &out, now, slog.LevelDebug, c.key, c.value); got != c.want {
			t.Errorf("%s=%s is logged: %v, want %v", c.key, c.value, got, c.want)
		}
	}
	later := now.Add(time.Minute)
	if logAt(l, &out, later, slog.LevelDebug, "identity", "spoke2") {
		t.Error("spoke2's debug lines are logged after the time")
	}
	if list := logs.Overrides(later); len(list) != 1 || list[0].Peer != "198.51.100.0/24" {
		t.Errorf("then there are %+v", list)
	}
}

// A level for everything replaces the configured levels until they count again. A reload leaves it.
func TestOverrideForEverything(t *testing.T) {
	var out bytes.Buffer
	c := config.Log{Level: slog.LevelInfo}
	logs := New(&out, c)
	l, now := logs.Of(Kernel), time.Now()
	if err := logs.Override(Override{Level: slog.LevelError}, now); err != nil {
		t.Fatal(err)
	}
	if err := logs.Override(Override{Level: slog.LevelDebug, Peer: "spoke1"}, now); err != nil {
		t.Fatal(err)
	}
	logs.Configure(c)
	if logAt(l, &out, now, slog.LevelWarn) {
		t.Error("a warning is logged at the level error")
	}
	if !logAt(l, &out, now, slog.LevelDebug, "identity", "spoke1") {
		t.Error("the level for the peer does not count beside the one for everything")
	}
	logs.ClearOverrides()
	if !logAt(l, &out, now, slog.LevelWarn) || logAt(l, &out, now, slog.LevelDebug) {
		t.Error("the configured level does not count again")
	}
}

// There are never more levels than allowed, and a new one for the same peer replaces the old one.
func TestOverridesAreBounded(t *testing.T) {
	logs := New(new(bytes.Buffer), config.Log{})
	now := time.Now()
	for i := range mostOverrides {
		if err := logs.Override(Override{Peer: fmt.Sprint("spoke", i)}, now); err != nil {
			t.Fatal(err)
		}
	}
	if err := logs.Override(Override{Peer: "spoke0"}, now); err != nil {
		t.Errorf("replacing one: %v", err)
	}
	err := logs.Override(Override{Peer: "one more"}, now)
	if !errors.Is(err, ErrTooManyOverrides) ||
		!strings.Contains(err.Error(), "cygnet log default") {
		t.Errorf("one more: %v", err)
	}
}
