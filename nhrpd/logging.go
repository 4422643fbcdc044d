package nhrpd

import (
	"context"
	"io"
	"log/slog"

	"cygnet/nhrpd/config"
)

// The subsystems that have a log level of their own in the configuration.
const (
	logEngine = "engine"
	logKernel = "kernel"
	logVICI   = "vici"
	logAPI    = "api"
	logConfig = "config"
)

// loggers makes the loggers of the subsystems. Each reload of the configuration may change their
// levels.
type loggers struct {
	handler slog.Handler
	held    *heldLog // what the handler writes to
	levels  map[string]*slog.LevelVar
}

// newLoggers returns loggers that write to w, with the levels and the format of c.
func newLoggers(w io.Writer, c config.Log) *loggers {
	opts := &slog.HandlerOptions{Level: slog.Level(-100)}
	l := &loggers{held: &heldLog{w: w}, levels: make(map[string]*slog.LevelVar)}
	if c.Format == "json" {
		l.handler = slog.NewJSONHandler(l.held, opts)
	} else {
		l.handler = slog.NewTextHandler(l.held, opts)
	}
	for _, subsystem := range []string{logEngine, logKernel, logVICI, logAPI, logConfig} {
		l.levels[subsystem] = new(slog.LevelVar)
	}
	l.configure(c)
	return l
}

// configure sets the level of every subsystem to what c has for it.
func (l *loggers) configure(c config.Log) {
	for subsystem, level := range l.levels {
		level.Set(c.Level)
		if own, ok := c.Levels[subsystem]; ok {
			level.Set(own)
		}
	}
}

// of returns the logger of a subsystem.
func (l *loggers) of(subsystem string) *slog.Logger {
	h := leveled{Handler: l.handler, level: l.levels[subsystem]}
	return slog.New(h).With("subsystem", subsystem)
}

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
