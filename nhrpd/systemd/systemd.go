// Package systemd reports to systemd, if systemd runs the daemon: that it is ready, and that it
// lives.
package systemd

import (
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/logging"
)

// Ready tells systemd that the daemon's start is complete, and logs the same as an event. It only
// logs if systemd cannot be reached.
func Ready(log *slog.Logger) {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Warn("cannot report to systemd that the daemon is ready", "error", err)
	}
	log.Info("ready", logging.EventKey, api.EventStarted)
}

// Watchdog returns the function that the loop calls after every turn. The function reports to
// systemd's watchdog, if the unit sets one. Because the loop itself reports, systemd restarts a
// daemon whose loop hangs. Only one goroutine may call the function.
func Watchdog() func(now time.Time) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return func(time.Time) {}
	}
	var last time.Time
	return func(now time.Time) {
		if now.Sub(last) >= interval/3 {
			last = now
			// A lost report needs no log line: systemd acts if reports stay away.
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
		}
	}
}
