package nhrpd

import (
	"context"
	"log/slog"
	"net"
	"net/netip"

	"cygnet/kernel/clock"
	"cygnet/kernel/datapath"
	"cygnet/kernel/fence"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/sysctl"
	"cygnet/kernel/tables"
	"cygnet/kernel/tunnel"
	"cygnet/kernel/watch"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/cleargre"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/espstate"
	"cygnet/nhrpd/preflight"
	"cygnet/vici"
)

// etherTypeNHRP is NHRP's protocol type in the GRE header. RFC 2332 §5.1 gives it as a SNAP code
// point, which GRE carries as an EtherType.
const etherTypeNHRP = 0x2001

// Linux returns the platform of a real daemon: this kernel, and the strongSwan that the
// configuration names.
func Linux(c *config.Config) Platform {
	return Platform{
		NewTunnel: func(c tunnel.Config, log *slog.Logger) Tunnel {
			return tunnel.New(c, log)
		},
		NewTables:   func(log *slog.Logger, room int) Tables { return tables.New(log, room) },
		WatchRoutes: watch.Routes,
		Listen: func(index int) (Socket, error) {
			return nhrpsocket.Listen(index, etherTypeNHRP)
		},
		AttachDataPath: datapath.Attach,
		WatchMisses:    watch.Misses,
		Check:          sysctl.Check,
		Strongswan: func(c *config.Config) []preflight.Finding {
			return preflight.This().Strongswan(c)
		},
		Certificates: func(c *config.Config) []preflight.Finding {
			return preflight.This().Certificates(c)
		},
		Network: func(c *config.Config) []preflight.Finding {
			return preflight.This().Network(c)
		},
		Surroundings: func(
			c *config.Config, outer func(*config.Interface) []netip.Addr,
		) []preflight.Finding {
			return preflight.This().Surroundings(c, outer)
		},
		EnsureFront:   xfrm.EnsureFront,
		NewFence:      func(log *slog.Logger) cleargre.Fence { return fence.New(log) },
		ClearCauses:   xfrm.ClearCauses,
		UnsentOf:      datapath.UnsentOf,
		DeletedStates: func() (cleargre.DeletedStates, error) { return xfrm.WatchDeletedStates() },
		MarkedPeers:   xfrm.MarkedPeers,
		OwnRoutes:     tables.OwnRoutes,
		Overhear:      nhrpsocket.Overhear,
		HasIKE:        nhrpsocket.HasIKE,
		Uptime:        clock.Uptime,
		Detach:        datapath.Detach,
		FindLeftovers: tunnel.FindLeftovers,
		Abandon:       vici.Abandon,
		ESPStates:     xfrm.ESPStates,
		DeleteStates:  xfrm.DeleteStates,
		ClearIn:       xfrm.ClearIn,
		PolicyUse:     xfrm.PolicyUse,
		ListenAPI:     api.Listen,
		Lookup: func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		},
		NewStrongswan: func(log *slog.Logger) Strongswan {
			return vici.New(vici.Options{
				Socket:         c.Daemon.VICISocket,
				Log:            log,
				MaxInitiations: c.Daemon.MaxInitiations,
				Sweep: espstate.Sweeper{
					Log: log, States: xfrm.ESPStates, Delete: xfrm.DeleteStates,
				}.Sweep,
			})
		},
	}
}
