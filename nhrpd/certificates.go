package nhrpd

import (
	"context"
	"slices"
	"sync"
	"time"

	"cygnet/nhrpd/config"
	"cygnet/nhrpd/preflight"
)

// certificateCheck is how often the daemon checks the certificates. That is often enough, because a
// certificate that will expire is reported a month ahead.
const certificateCheck = time.Hour

// certificateWatch keeps the findings of the last check for the status: what is wrong with the
// certificates that the interfaces need, and which of charon's settings keep the daemon from using
// charon.
type certificateWatch struct {
	mu    sync.Mutex // guards found
	found []preflight.Finding
	again chan struct{} // holds a value if a check is due now, as after a reload
}

// newCertificateWatch returns a certificateWatch without findings.
func newCertificateWatch() *certificateWatch {
	return &certificateWatch{again: make(chan struct{}, 1)}
}

// findings returns what the last check found.
func (w *certificateWatch) findings() []preflight.Finding {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.found)
}

// lookAgain has the next check run soon.
func (w *certificateWatch) lookAgain() {
	select {
	case w.again <- struct{}{}:
	default:
	}
}

// set records what a check found, and returns those findings that the check before did not have.
func (w *certificateWatch) set(found []preflight.Finding) (fresh []preflight.Finding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range found {
		if !slices.Contains(w.found, f) {
			fresh = append(fresh, f)
		}
	}
	w.found = found
	return fresh
}

// watchCertificates checks the certificates of all interfaces at the start, after a reload, and
// every hour. It logs each new finding once.
func (d *Daemon) watchCertificates(ctx context.Context) error {
	ticker := time.NewTicker(certificateCheck)
	defer ticker.Stop()
	for {
		var c config.Config
		err := d.loop.call(ctx, func(time.Time) {
			c = d.loop.configured()
		})
		if err != nil {
			return nil
		}
		found := d.platform.Certificates(&c)
		for _, f := range d.certificates.set(append(found, d.unusableStrongswan(&c)...)) {
			// advise has logged the findings about charon's settings at the start.
			if f.About == preflight.AboutCertificates {
				d.log.Warn(f.String())
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-d.certificates.again:
		}
	}
}

// unusableStrongswan returns the findings about charon's settings, without mere advice.
func (d *Daemon) unusableStrongswan(c *config.Config) []preflight.Finding {
	c.Daemon.VICISocket = d.charon
	return slices.DeleteFunc(d.platform.Strongswan(c), func(f preflight.Finding) bool {
		return f.Severity == preflight.Advice
	})
}
