// Package logging makes the daemon's loggers: one for each subsystem, with a level of its own that
// a reload of the configuration may change.
package logging

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/coreos/go-systemd/v22/journal"

	"cygnet/nhrpd/config"
)

// Subsystem is a part of the daemon that has a log level of its own; config.Subsystems has the
// names.
type Subsystem string

// The subsystems.
const (
	Engine Subsystem = "engine"
	Kernel Subsystem = "kernel"
	VICI   Subsystem = "vici"
	API    Subsystem = "api"
	Config Subsystem = "config"
)

// Loggers makes the loggers of the subsystems. It is safe for concurrent use.
type Loggers struct {
	out       *heldWriter
	handler   slog.Handler
	levels    map[Subsystem]*slog.LevelVar
	change    sync.Mutex                             // held by whoever changes overrides
	overrides atomic.Pointer[overrides]              // nil: there are none
	onEvent   func(slog.Record, string, []slog.Attr) // nil: nobody wants events
}

// EventKey is the key of the attribute that makes a log record an event: its value is the kind of
// the event. It is an attribute of the record itself, not of its logger.
const EventKey = "event"

// New returns loggers that write to w, with the levels and the format of c. Where w is the standard
// error output and that is connected to systemd's journal, the text format becomes the journal's
// own, unless the journal cannot be reached.
func New(w io.Writer, c config.Log) *Loggers {
	// The handlers below compare levels, so this one lets everything pass.
	opts := &slog.HandlerOptions{Level: slog.Level(-100)}
	l := &Loggers{out: &heldWriter{w: w}, levels: make(map[Subsystem]*slog.LevelVar)}
	if c.Format == config.FormatJSON {
		l.handler = slog.NewJSONHandler(l.out, opts)
	} else {
		l.handler = slog.NewTextHandler(l.out, opts)
	}
	if c.Format != config.FormatJSON && w == os.Stderr {
		// An error means that the environment's JOURNAL_STREAM is not the journal's.
		if connected, err := journal.StderrIsJournalStream(); err == nil && connected {
			l.handler = newJournald(l.handler)
		}
	}
	for _, s := range []Subsystem{Engine, Kernel, VICI, API, Config} {
		l.levels[s] = new(slog.LevelVar)
	}
	l.Configure(c)
	return l
}

// Configure sets the level of every subsystem to what c has for it. Loggers that exist follow.
func (l *Loggers) Configure(c config.Log) {
	for s, level := range l.levels {
		level.Set(c.LevelOf(string(s)))
	}
}

// Of returns the logger of a subsystem.
func (l *Loggers) Of(s Subsystem) *slog.Logger {
	h := leveled{Handler: l.handler, level: l.levels[s], logs: l}
	return slog.New(h).With("subsystem", string(s))
}

// OnEvent has f get every record that is an event, whatever is logged of it: the record, the kind
// of the event, and the attributes of the logger and of the record, without the kind. It has to be
// called before anything is logged. f must not change or keep the attributes, and must not log.
func (l *Loggers) OnEvent(f func(r slog.Record, kind string, attrs []slog.Attr)) { l.onEvent = f }

// Together runs f. It holds what any goroutine logs in the meantime, and writes it in one call
// after f has returned. The loop logs the events of a turn that way. A thousand clients that
// register at once make a thousand lines, and a system call for each would cost as much as a
// third of the registration.
func (l *Loggers) Together(f func()) { l.out.together(f) }

// leveled is a handler with a level of its own, which may change while the handler is in use.
type leveled struct {
	slog.Handler
	level slog.Leveler
	logs  *Loggers
	attrs []slog.Attr // of the logger
}

// Enabled reports whether a record of that level is logged, or may be an event.
func (h leveled) Enabled(_ context.Context, level slog.Level) bool {
	if set := h.logs.overrides.Load(); set != nil && level >= set.lowest {
		return true
	}
	return level >= h.level.Level() || level >= slog.LevelInfo && h.logs.onEvent != nil
}

// Handle logs a record, and has those who want events get it if it is one.
func (h leveled) Handle(ctx context.Context, r slog.Record) error {
	set := h.logs.overrides.Load()
	level := h.level.Level()
	if h.logs.onEvent != nil || set != nil {
		attrs := h.event(r)
		if set != nil {
			level = set.level(level, r.Time, attrs)
		}
	}
	if r.Level < level {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// event has those who want events get a record if it is one. It returns the attributes of the
// logger and of the record.
func (h leveled) event(r slog.Record) []slog.Attr {
	kind := ""
	attrs := make([]slog.Attr, 0, len(h.attrs)+r.NumAttrs())
	attrs = append(attrs, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == EventKey {
			kind = a.Value.String()
		} else {
			attrs = append(attrs, a)
		}
		return true
	})
	if kind != "" && h.logs.onEvent != nil {
		h.logs.onEvent(r, kind, attrs)
	}
	return attrs
}

// WithAttrs returns a handler with the same level whose records have the attributes as well.
func (h leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.Handler = h.Handler.WithAttrs(attrs)
	h.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)
	return h
}

// WithGroup returns a handler with the same level that puts later attributes into a group.
func (h leveled) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}
