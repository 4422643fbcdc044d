package platform

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"cygnet/kernel/clock"
	"cygnet/kernel/datapath"
	"cygnet/kernel/fence"
	"cygnet/kernel/multicast"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/peerlink"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/sysctl"
	"cygnet/kernel/tables"
	"cygnet/kernel/tunnel"
	"cygnet/kernel/watch"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/cleargre"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/espstate"
	"cygnet/nhrpd/explain"
	"cygnet/nhrpd/preflight"
	"cygnet/nhrpd/uplink"
	"cygnet/nhrpd/uplink/ikeprobe"
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
		TunnelLocal: func(name string) uplink.Addresses {
			return uplink.Addresses{V4: tunnel.LocalOf(name), V6: peerlink.LocalOf(name)}
		},
		Uplinks: linuxUplinks(),
		NewTables: func(log *slog.Logger, room int, took func(time.Duration)) Tables {
			t := tables.New(log, room)
			t.Took = took
			return t
		},
		WatchRoutes: watch.Routes,
		Listen: func(index int) (Socket, error) {
			return nhrpsocket.Listen(index, etherTypeNHRP)
		},
		AttachDataPath: datapath.Attach,
		AttachMulticast: func(log *slog.Logger, cfg multicast.Config) (Replicator, error) {
			return multicast.Attach(log, cfg)
		},
		HasMulticast:    multicast.Attached,
		DetachMulticast: multicast.Detach,
		UnderlayMTU:     tunnel.UnderlayMTU,
		WatchUnderlays:  tunnel.WatchUnderlays,
		WatchMisses:     watch.Misses,
		Check:           sysctl.Check,
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
			h := preflight.This()
			return append(h.Surroundings(c, outer), h.Underlay(c, outer)...)
		},
		EnsureFront: xfrm.EnsureFront,
		NewFence:    func(log *slog.Logger) cleargre.Fence { return fence.New(log) },
		ClearCauses: xfrm.ClearCauses,
		UnsentOf:    datapath.UnsentOf,
		DeletedStates: func() (cleargre.DeletedStates, error) {
			return xfrm.WatchDeletedStates()
		},
		MarkedPeers:      xfrm.MarkedPeers,
		SetMarkGuards:    xfrm.SetMarkGuards,
		RemoveMarkGuards: xfrm.RemoveMarkGuards,
		StaleMarkGuards:  xfrm.StaleMarkGuards,
		OwnRoutes:        tables.OwnRoutes,
		Explain:          explain.Linux(),
		Overhear:         nhrpsocket.Overhear,
		HasIKE:           nhrpsocket.HasIKE,
		Uptime:           clock.Uptime,
		NewLinks: func(cfg peerlink.Config, log *slog.Logger) Links {
			return peerlink.New(cfg, log)
		},
		FindLinks:     peerlink.Find,
		RemoveLinks:   peerlink.Remove,
		Detach:        datapath.Detach,
		VRFTable:      tunnel.VRFTable,
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
		NewStrongswan: func(log *slog.Logger, times StrongswanTimes) Strongswan {
			return vici.New(vici.Options{
				Socket:         c.Daemon.VICISocket,
				Log:            log,
				MaxInitiations: c.Daemon.MaxInitiations,
				Sweep: espstate.Sweeper{
					Log: log, States: xfrm.ESPStates, Delete: xfrm.DeleteStates,
				}.Sweep,
				InKernel: espstate.Lister{States: xfrm.ESPStates}.InKernel,
				Compared: times.Compared,
				Secured:  times.Secured,
			})
		},
	}
}

// linuxUplinks returns what chooses between uplinks on this host.
func linuxUplinks() uplink.System {
	return uplink.System{
		Addresses: func(device string) (uplink.Addresses, error) {
			found, err := rtnl.CarriedAddresses(device)
			if errors.Is(err, rtnl.ErrNoAddress) {
				return uplink.Addresses{}, nil
			}
			return uplink.Addresses(found), err
		},
		Watch: watch.Addresses,
		Open: func(device string, local netip.Addr) (uplink.Prober, error) {
			return ikeprobe.Open(device, local)
		},
	}
}
