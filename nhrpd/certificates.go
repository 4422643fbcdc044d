package nhrpd

import (
	"context"
	"slices"
	"sync"
	"time"

	"cygnet/nhrpd/config"
	"cygnet/nhrpd/preflight"
)

// certificateCheck is how often the certificates are looked at: what ends them is announced a month ahead.
const certificateCheck = time.Hour

// certificateWatch keeps what is wrong with the certificates that the interfaces need, and what of charon's settings keeps the daemon
// from using it, for the status.
type certificateWatch struct {
	mu    sync.Mutex
	found []preflight.Finding
	again chan struct{} // to look now, after a reload
}

func newCertificateWatch() *certificateWatch {
	return &certificateWatch{again: make(chan struct{}, 1)}
}

// findings is what the last look found.
func (w *certificateWatch) findings() []preflight.Finding {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.found)
}

// lookAgain has them looked at soon.
func (w *certificateWatch) lookAgain() {
	select {
	case w.again <- struct{}{}:
	default:
	}
}

// set takes over what a look found, and returns what the one before did not have.
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

// watchCertificates looks at the certificates of all interfaces at start, after a reload, and every hour, and says once what is new.
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
			if f.About == preflight.AboutCertificates { // charon's settings were told at the start
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

// unusableStrongswan is what of charon's settings is more than advice.
func (d *Daemon) unusableStrongswan(c *config.Config) []preflight.Finding {
	c.Daemon.VICISocket = d.charon
	return slices.DeleteFunc(d.platform.Strongswan(c), func(f preflight.Finding) bool { return f.Severity == preflight.Advice })
}
