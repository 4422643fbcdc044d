package logging

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"cygnet/nhrpd/config"
)

// Each subsystem logs at its own level, which a reload changes for loggers that exist, also for
// those with further attributes.
func TestLevels(t *testing.T) {
	var out bytes.Buffer
	l := New(&out, config.Log{
		Level:  slog.LevelWarn,
		Levels: map[string]slog.Level{"vici": slog.LevelDebug},
	})
	kernel, vici := l.Of(Kernel).With("interface", "gre1"), l.Of(VICI)
	logged := func() []string {
		out.Reset()
		kernel.Info("from the kernel")
		kernel.WithGroup("g").Warn("warning")
		vici.Debug("from charon")
		var got []string
		for line := range strings.Lines(out.String()) {
			_, text, _ := strings.Cut(strings.TrimSpace(line), " level=")
			got = append(got, text)
		}
		return got
	}
	want := []string{
		"WARN msg=warning subsystem=kernel interface=gre1",
		`DEBUG msg="from charon" subsystem=vici`,
	}
	if got := logged(); !slices.Equal(got, want) {
		t.Errorf("want %q, logged %q", want, got)
	}
	l.Configure(config.Log{Level: slog.LevelInfo})
	want = []string{
		`INFO msg="from the kernel" subsystem=kernel interface=gre1`,
		"WARN msg=warning subsystem=kernel interface=gre1",
	}
	if got := logged(); !slices.Equal(got, want) {
		t.Errorf("after the reload: want %q, logged %q", want, got)
	}
}

// With the format json each record is one object.
func TestJSON(t *testing.T) {
	var out bytes.Buffer
	New(&out, config.Log{Format: config.FormatJSON}).Of(API).Info("hello")
	var record map[string]any
	if err := json.Unmarshal(out.Bytes(), &record); err != nil || record["msg"] != "hello" ||
		record["subsystem"] != "api" {
		t.Errorf("logged %s, %v", out.String(), err)
	}
}

// Every subsystem that the configuration knows has a logger, and the other way round.
func TestEverySubsystemHasALogger(t *testing.T) {
	l := New(&bytes.Buffer{}, config.Log{})
	for _, name := range config.Subsystems {
		if l.levels[Subsystem(name)] == nil {
			t.Errorf("no logger for %s", name)
		}
	}
	if len(l.levels) != len(config.Subsystems) {
		t.Errorf("%d subsystems have loggers, want %d", len(l.levels), len(config.Subsystems))
	}
}
