package nhrpd

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/logging"
)

// SetLog sets the level of the log; see api.Daemon.
func (d *Daemon) SetLog(ctx context.Context, r api.LogRequest) error {
	if r.Level == api.LogDefault {
		d.logs.ClearOverrides()
		d.log.Info("the log has the levels of the configuration again",
			logging.EventKey, api.EventLogLevel)
		return nil
	}
	var level slog.Level
	err := level.UnmarshalText([]byte(r.Level))
	if err != nil || strings.ToLower(level.String()) != r.Level {
		return fmt.Errorf("set the log level: found %q, allowed are debug, info, warn, error and default (%w)",
			r.Level, api.ErrRefused)
	}
	now := time.Now()
	o := logging.Override{Level: level, Peer: r.Peer}
	if r.Seconds > 0 {
		o.Until = now.Add(time.Duration(r.Seconds * float64(time.Second)))
	}
	if r.Peer != "" {
		if o.Addresses, err = d.addressesOf(ctx, r.Peer); err != nil {
			return fmt.Errorf("set the log level: %w", err)
		}
	}
	if err := d.logs.Override(o, now); err != nil {
		return fmt.Errorf("set the log level: %w (%w)", err, api.ErrRefused)
	}
	text := "the log level was set to " + strings.ToLower(level.String())
	if r.Peer != "" {
		text += " for one peer"
	}
	args := []any{logging.EventKey, api.EventLogLevel}
	if r.Peer != "" {
		args = append(args, "peer", r.Peer)
	}
	if r.Seconds > 0 {
		args = append(args, "until", o.Until)
	}
	d.log.Info(text, args...)
	return nil
}

// addressesOf returns the underlay addresses of the peers whose identity contains a text, since
// some lines have only an address of theirs.
func (d *Daemon) addressesOf(ctx context.Context, text string) ([]netip.Addr, error) {
	found := make(chan []netip.Addr, 1) // with room, as in protectedTunnels
	err := d.loop.call(ctx, func(time.Time) {
		var all []netip.Addr
		for _, i := range d.loop.engine.Status() {
			for _, p := range i.Peers {
				if p.Identity != "" &&
					strings.Contains(strings.ToLower(p.Identity), strings.ToLower(text)) {
					all = append(all, p.Outer)
				}
			}
		}
		slices.SortFunc(all, netip.Addr.Compare)
		found <- slices.Compact(all)
	})
	if err != nil {
		return nil, err
	}
	return <-found, nil
}

// addLogLevels adds to a status the levels of the log that differ from the configuration.
func (d *Daemon) addLogLevels(s *api.Status) {
	for _, o := range d.logs.Overrides(s.Now) {
		s.LogLevels = append(s.LogLevels, api.LogLevel{
			Level: strings.ToLower(o.Level.String()), Peer: o.Peer, Until: o.Until,
		})
	}
}
