package nhrpd

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"cygnet/kernel/sysctl"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/hostcheck"
	"cygnet/nhrpd/platform"
	"cygnet/nhrpd/preflight"
	"cygnet/nhrpd/wait"
)

const (
	// certificateInterval is how often the daemon checks the certificates, which takes some small
	// files to read. A certificate that will expire is reported a month ahead; one that was renewed
	// is to be out of the status soon, since that is where an administrator looks.
	certificateInterval = time.Minute
	// surroundingsInterval is how often the daemon checks the surroundings of the tunnels, to log;
	// a status checks by itself.
	surroundingsInterval = time.Minute
)

// checks looks for what is wrong on this host outside of the daemon: certificates, charon's
// settings, and the surroundings of the tunnels.
type checks struct {
	platform *platform.Platform
	loop     *loop
	log      *slog.Logger
	vici     string // charon's VICI socket

	certificates *hostcheck.Watch
	surroundings *hostcheck.Watch
}

// advise logs, once at the start, which kernel settings are too small for a hub and which of
// charon's settings keep the daemon from its promises. Cygnet's package changes neither, because
// both apply to all connections of the site.
func (h *checks) advise(c *config.Config) {
	for _, a := range h.platform.Check(
		sysctl.CheckConfig{Peers: preflight.UsualPeers, Forwards: true},
	) {
		h.log.Warn("a kernel setting may be too small",
			"setting", a.Sysctl, "have", a.Have, "want", a.Want, "why", a.Why)
	}
	for _, f := range h.platform.Strongswan(c) {
		h.log.Warn(f.String())
	}
}

// watchCertificates checks the certificates of all interfaces at the start, after a reload, and
// every minute, together with charon's settings. It logs each new finding about certificates once.
func (h *checks) watchCertificates(ctx context.Context) error {
	return h.certificates.Run(ctx, certificateInterval, h.checkCertificates,
		func(f preflight.Finding) bool {
			// advise has logged the findings about charon's settings at the start.
			return f.About == preflight.AboutCertificates
		})
}

// checkCertificates returns what is wrong with the certificates of the open interfaces, and which
// of charon's settings keep the daemon from using charon. It returns an error if the context ends.
func (h *checks) checkCertificates(ctx context.Context) ([]preflight.Finding, error) {
	var c config.Config
	err := h.loop.call(ctx, func(time.Time) { c = h.loop.configured() })
	if err != nil {
		return nil, err
	}
	found := h.platform.Certificates(&c)
	c.Daemon.VICISocket = h.vici
	settings := slices.DeleteFunc(h.platform.Strongswan(&c), func(f preflight.Finding) bool {
		return f.Severity == preflight.Advice
	})
	return append(found, settings...), nil
}

// watchSurroundings logs, once each, what others set up around the tunnels that keeps traffic from
// them.
func (h *checks) watchSurroundings(ctx context.Context) error {
	if !wait.For(ctx, surroundingsInterval) {
		return nil
	}
	return h.surroundings.Run(ctx, surroundingsInterval,
		func(ctx context.Context) ([]preflight.Finding, error) {
			var c config.Config
			var outer map[string][]netip.Addr
			err := h.loop.call(ctx, func(time.Time) {
				c, outer = h.loop.configured(), outerAddresses(h.loop.engine.Status())
			})
			if err != nil {
				return nil, err
			}
			return h.around(&c, outer), nil
		},
		func(preflight.Finding) bool { return true })
}

// around returns what is wrong in the surroundings of the tunnels. outer has, by
// interface, the underlay addresses that the tunnel has to reach.
func (h *checks) around(
	c *config.Config, outer map[string][]netip.Addr,
) []preflight.Finding {
	return h.platform.Surroundings(c, func(i *config.Interface) []netip.Addr {
		return outer[i.Name]
	})
}
