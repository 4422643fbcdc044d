package nhrpd

import (
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notifyReady tells systemd, when it runs us, that the start or a reload is through.
func notifyReady(log *slog.Logger) error {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Warn("systemd does not hear that the daemon is ready", "error", err)
	}
	log.Info("ready")
	return nil
}

// watchdog returns what the loop calls after every turn: it reports to systemd's watchdog where the unit sets one. The loop reports itself, so
// that a loop that hangs is restarted.
func watchdog() func(now time.Time) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return func(time.Time) {}
	}
	var last time.Time
	return func(now time.Time) {
		if now.Sub(last) >= interval/3 {
			last = now
			// A lost report shows itself: systemd acts on it.
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
		}
	}
}
