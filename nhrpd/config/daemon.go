package config

import "log/slog"

func (c *checker) daemon(raw *rawDaemon) Daemon {
	d := defaultDaemon()
	d.APISocket = c.socket(raw.APISocket, d.APISocket)
	d.VICISocket = c.socket(raw.VICISocket, d.VICISocket)
	d.StateDir = c.absolute(raw.StateDir, d.StateDir)
	d.APIGroup = raw.APIGroup.or(d.APIGroup)
	d.MaxInitiations = number(c, raw.MaxInitiations, d.MaxInitiations, 1, 10000)
	if raw.APIGroup.set && !printable(d.APIGroup) {
		c.problem(raw.APIGroup.at, "found %s, allowed is the name of a group", quote(d.APIGroup))
	}
	return d
}

// socket checks the path of a unix socket. The kernel keeps it in 108 bytes, including a zero at
// the end.
func (c *checker) socket(v value[string], def string) string {
	const most = 107
	p := c.absolute(v, def)
	if len(p) > most {
		c.problem(v.at, "found a path of %d bytes, allowed for a socket are %d", len(p), most)
	}
	return p
}

var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug,
	"info":  slog.LevelInfo,
	"warn":  slog.LevelWarn,
	"error": slog.LevelError,
}

func (c *checker) log(raw *rawLog) Log {
	l := defaultLog()
	l.Format = LogFormat(c.word(raw.Format, string(l.Format), string(FormatText),
		string(FormatJSON)))
	l.Level = c.level(raw.Level, l.Level)
	for subsystem, v := range map[string]value[string]{
		"api": raw.Levels.API, "config": raw.Levels.Config, "engine": raw.Levels.Engine,
		"kernel": raw.Levels.Kernel, "vici": raw.Levels.VICI,
	} {
		if v.set {
			l.Levels[subsystem] = c.level(v, l.Level)
		}
	}
	return l
}

func (c *checker) level(v value[string], def slog.Level) slog.Level {
	if !v.set {
		return def
	}
	return logLevels[c.word(v, "info", "debug", "info", "warn", "error")]
}
