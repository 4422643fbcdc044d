package config

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"

	"cygnet/nhrpd/config/document"
)

func (c *checker) daemon(raw *rawDaemon) Daemon {
	d := defaultDaemon()
	d.APISocket = c.socket(raw.APISocket, d.APISocket)
	d.VICISocket = c.socket(raw.VICISocket, d.VICISocket)
	d.StateDir = c.absolute(raw.StateDir, d.StateDir)
	d.APIGroup = raw.APIGroup.Or(d.APIGroup)
	d.Metrics = c.metrics(raw.Metrics)
	d.MetricsPeers = number(c, raw.MetricsPeers, d.MetricsPeers, 0, MostMetricsPeers)
	d.MaxInitiations = number(c, raw.MaxInitiations, d.MaxInitiations, 1, 10000)
	d.APIViewGroup = raw.APIViewGroup.Or(d.APIViewGroup)
	for _, group := range []document.Value[string]{raw.APIGroup, raw.APIViewGroup} {
		if group.Set && !printable(group.V) {
			c.Report(group.At, "found %s, allowed is the name of a group",
				document.Quote(group.V))
		}
	}
	return d
}

// ViewSocket returns the path of the socket that only shows, beside that of an API.
func ViewSocket(apiSocket string) string {
	return filepath.Join(filepath.Dir(apiSocket), "view.sock")
}

// MostMetricsPeers is the highest value of metrics_peers.
const MostMetricsPeers = 10000

// metrics checks where the metrics are served: the path of a socket, or an address and a port.
func (c *checker) metrics(v document.Value[string]) string {
	switch {
	case v.V == "":
		return ""
	case strings.HasPrefix(v.V, "/"):
		return c.socket(v, "")
	}
	if at, err := netip.ParseAddrPort(v.V); err != nil || at.Port() == 0 {
		c.Report(v.At, "found %s, allowed is an address with a port, such as \"127.0.0.1:9116\", or the path of a socket",
			document.Quote(v.V))
	}
	return v.V
}

// socket checks the path of a unix socket. The kernel keeps it in 108 bytes, including a zero at
// the end.
func (c *checker) socket(v document.Value[string], def string) string {
	const most = 107
	p := c.absolute(v, def)
	if len(p) > most {
		c.Report(v.At, "found a path of %d bytes, allowed for a socket are %d", len(p), most)
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
	for subsystem, v := range map[string]document.Value[string]{
		"api": raw.Levels.API, "config": raw.Levels.Config, "engine": raw.Levels.Engine,
		"kernel": raw.Levels.Kernel, "vici": raw.Levels.VICI,
	} {
		if v.Set {
			l.Levels[subsystem] = c.level(v, l.Level)
		}
	}
	return l
}

func (c *checker) level(v document.Value[string], def slog.Level) slog.Level {
	if !v.Set {
		return def
	}
	return logLevels[c.word(v, "info", "debug", "info", "warn", "error")]
}
