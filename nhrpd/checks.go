package nhrpd

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"cygnet/kernel/sysctl"
	"cygnet/nhrpd/config"
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

// advise logs, once at the start, which kernel settings are too small for a hub and which of
// charon's settings keep the daemon from its promises. Cygnet's package changes neither, because
// both apply to all connections of the site.
func (d *Daemon) advise() {
	for _, a := range d.platform.Check(
		sysctl.CheckConfig{Peers: preflight.UsualPeers, Forwards: true},
	) {
		d.log.Warn("a kernel setting may be too small",
			"setting", a.Sysctl, "have", a.Have, "want", a.Want, "why", a.Why)
	}
	for _, f := range d.platform.Strongswan(d.config) {
		d.log.Warn(f.String())
	}
}

// watchCertificates checks the certificates of all interfaces at the start, after a reload, and
// every minute, together with charon's settings. It logs each new finding about certificates once.
func (d *Daemon) watchCertificates(ctx context.Context) error {
	return d.certificates.Run(ctx, certificateInterval, d.checkCertificates,
		func(f preflight.Finding) bool {
			// advise has logged the findings about charon's settings at the start.
			return f.About == preflight.AboutCertificates
		})
}

// checkCertificates returns what is wrong with the certificates of the open interfaces, and which
// of charon's settings keep the daemon from using charon. It returns an error if the context ends.
func (d *Daemon) checkCertificates(ctx context.Context) ([]preflight.Finding, error) {
	var c config.Config
	err := d.loop.call(ctx, func(time.Time) { c = d.loop.configured() })
	if err != nil {
		return nil, err
	}
	found := d.platform.Certificates(&c)
	c.Daemon.VICISocket = d.vici
	settings := slices.DeleteFunc(d.platform.Strongswan(&c), func(f preflight.Finding) bool {
		return f.Severity == preflight.Advice
	})
	return append(found, settings...), nil
}

// watchSurroundings logs, once each, what others set up around the tunnels that keeps traffic from
// them.
func (d *Daemon) watchSurroundings(ctx context.Context) error {
	if !wait.For(ctx, surroundingsInterval) {
		return nil
	}
	return d.surroundings.Run(ctx, surroundingsInterval,
		func(ctx context.Context) ([]preflight.Finding, error) {
			var c config.Config
			var outer map[string][]netip.Addr
			err := d.loop.call(ctx, func(time.Time) {
				c, outer = d.loop.configured(), outerAddresses(d.loop.engine.Status())
			})
			if err != nil {
				return nil, err
			}
			return d.checkSurroundings(&c, outer), nil
		},
		func(preflight.Finding) bool { return true })
}

// checkSurroundings returns what is wrong in the surroundings of the tunnels. outer has, by
// interface, the underlay addresses that the tunnel has to reach.
func (d *Daemon) checkSurroundings(
	c *config.Config, outer map[string][]netip.Addr,
) []preflight.Finding {
	return d.platform.Surroundings(c, func(i *config.Interface) []netip.Addr {
		return outer[i.Name]
	})
}
