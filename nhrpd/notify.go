package nhrpd

import (
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notifyReady tells systemd that the start or a reload is complete, if systemd runs the daemon.
func notifyReady(log *slog.Logger) error {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Warn("cannot report to systemd that the daemon is ready", "error", err)
	}
	log.Info("ready")
	return nil
}

// watchdog returns the function that the loop calls after every turn. The function reports to
// systemd's watchdog, if the unit sets one. Because the loop itself reports, systemd restarts a
// daemon whose loop hangs.
func watchdog() func(now time.Time) {
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
