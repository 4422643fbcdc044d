package nhrpd

import (
	"context"
	"slices"
	"sync"
	"time"

	"cygnet/nhrpd/config"
)

// certificateCheck is how often the certificates are looked at: what ends them is announced a month ahead.
const certificateCheck = time.Hour

// certificateWatch keeps what is wrong with the certificates that the interfaces need, for the status.
type certificateWatch struct {
	mu    sync.Mutex
	found []string
	again chan struct{} // to look now, after a reload
}

func newCertificateWatch() *certificateWatch {
	return &certificateWatch{again: make(chan struct{}, 1)}
}

// advice is what the last look found.
func (w *certificateWatch) advice() []string {
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
func (w *certificateWatch) set(found []string) (fresh []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, text := range found {
		if !slices.Contains(w.found, text) {
			fresh = append(fresh, text)
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
			for _, p := range d.loop.ports {
				c.Interfaces = append(c.Interfaces, p.config)
			}
		})
		if err != nil {
			return nil
		}
		var found []string
		for _, f := range d.platform.Certificates(&c) {
			found = append(found, f.String())
		}
		slices.Sort(found)
		for _, text := range d.certificates.set(found) {
			d.log.Warn(text)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-d.certificates.again:
		}
	}
}
