// Package logging makes the daemon's loggers: one for each subsystem, with a level of its own that
// a reload of the configuration may change.
package logging

import (
	"context"
	"io"
	"log/slog"

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
	out     *heldWriter
	handler slog.Handler
	levels  map[Subsystem]*slog.LevelVar
}

// New returns loggers that write to w, with the levels and the format of c.
func New(w io.Writer, c config.Log) *Loggers {
	// The handlers below compare levels, so this one lets everything pass.
	opts := &slog.HandlerOptions{Level: slog.Level(-100)}
	l := &Loggers{out: &heldWriter{w: w}, levels: make(map[Subsystem]*slog.LevelVar)}
	if c.Format == config.FormatJSON {
		l.handler = slog.NewJSONHandler(l.out, opts)
	} else {
		l.handler = slog.NewTextHandler(l.out, opts)
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
	h := leveled{Handler: l.handler, level: l.levels[s]}
	return slog.New(h).With("subsystem", string(s))
}

// Together runs f. It holds what any goroutine logs in the meantime, and writes it in one call
// after f has returned. The loop logs the events of a turn that way. A thousand clients that
// register at once make a thousand lines, and a system call for each would cost as much as a
// third of the registration.
func (l *Loggers) Together(f func()) { l.out.together(f) }

// leveled is a handler with a level of its own, which may change while the handler is in use.
type leveled struct {
	slog.Handler
	level slog.Leveler
}

// Enabled reports whether a record of that level is logged.
func (h leveled) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// WithAttrs returns a handler with the same level whose records have the attributes as well.
func (h leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return leveled{Handler: h.Handler.WithAttrs(attrs), level: h.level}
}

// WithGroup returns a handler with the same level that puts later attributes into a group.
func (h leveled) WithGroup(name string) slog.Handler {
	return leveled{Handler: h.Handler.WithGroup(name), level: h.level}
}
