// Package platform has what the daemon runs on: the kernel, the resolver and strongSwan.
//
// The daemon reaches them through the type Platform alone, so tests bring a platform of their own.
// What the functions and interfaces do is documented in the packages that have them.
package platform

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/kernel/multicast"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/peerlink"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/sysctl"
	"cygnet/kernel/tables"
	"cygnet/kernel/tunnel"
	"cygnet/kernel/watch"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/cleargre"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/explain"
	"cygnet/nhrpd/preflight"
	"cygnet/nhrpd/resolve"
	"cygnet/nhrpd/uplink"
	"cygnet/vici"
	"cygnet/vici/profile"
)

// Platform is what the daemon runs on. Each field is one function that the daemon calls, from
// several goroutines. Linux returns the real platform, and so shows which package has and documents
// the function; tests bring their own.
type Platform struct {
	NewTunnel   func(tunnel.Config, *slog.Logger) Tunnel
	TunnelLocal func(device string) uplink.Addresses
	Uplinks     uplink.System
	// NewTables returns Tables that report how long each of their turns takes.
	NewTables   func(log *slog.Logger, room int, took func(time.Duration)) Tables
	WatchRoutes func(
		ctx context.Context, log *slog.Logger, tables []uint32, f func(watch.RouteBatch),
	) error
	Listen          func(index int) (Socket, error)
	AttachDataPath  func(log *slog.Logger, cfg datapath.Config) (datapath.Path, error)
	AttachMulticast func(log *slog.Logger, cfg multicast.Config) (Replicator, error)
	// HasMulticast reports whether programs of an earlier run replicate on the tunnel.
	HasMulticast    func(device string, index int) bool
	DetachMulticast func(device string) error
	// UnderlayMTU returns the MTU of a tunnel's underlay, 0 if it is not known, and WatchUnderlays
	// calls f whenever that may have changed.
	UnderlayMTU    func(device string, local netip.Addr) (int, error)
	WatchUnderlays func(ctx context.Context, log *slog.Logger, f func()) error
	WatchMisses    func(
		ctx context.Context, log *slog.Logger, index int, f func(protocol netip.Addr),
	) error
	Lookup       resolve.Lookup
	ListenAPI    func(path, group string) (net.Listener, error)
	Check        func(sysctl.CheckConfig) []sysctl.Advice
	Strongswan   func(*config.Config) []preflight.Finding // about charon's settings
	Certificates func(*config.Config) []preflight.Finding
	Surroundings func( // of tunnels and underlays
		c *config.Config, outer func(*config.Interface) []netip.Addr,
	) []preflight.Finding
	Network  func(*config.Config) []preflight.Finding // about devices and addresses
	NewLinks func(peerlink.Config, *slog.Logger) Links
	// FindLinks returns the links of an earlier run.
	FindLinks     func() ([]peerlink.Left, error)
	RemoveLinks   func(tunnel string) error
	Detach        func(device string) error
	VRFTable      func(vrf string) (uint32, error)
	FindLeftovers func() (tunnel.Leftovers, error)
	Abandon       func(
		ctx context.Context, socket string, gone func(iface string) bool, sites ...string,
	) error
	ESPStates        func(local netip.Addr) ([]xfrm.ESPState, error)
	DeleteStates     func([]xfrm.ESPState) error
	MarkedPeers      func(local netip.Addr) (map[netip.Addr]netip.Addr, error)
	SetMarkGuards    func([]xfrm.MarkGuard) error
	RemoveMarkGuards func([]xfrm.MarkGuard) error
	StaleMarkGuards  func(local netip.Addr) ([]xfrm.MarkGuard, error)
	ClearIn          func() (uint64, error)
	PolicyUse        func(local netip.Addr) (map[netip.Addr]time.Time, error)
	EnsureFront      func(local netip.Addr, wanted bool) (bool, error)
	NewFence         func(*slog.Logger) cleargre.Fence
	ClearCauses      func(local netip.Addr, devices []string) ([]string, error)
	UnsentOf         func(tunnels ...string) (datapath.Unsent, error)
	DeletedStates    func() (cleargre.DeletedStates, error)
	OwnRoutes        func() ([]rtnl.Route, error)
	Explain          explain.Kernel
	Overhear         func(
		ctx context.Context, kind nhrpsocket.Stray, local netip.Addr, f func(from netip.Addr),
	) error
	HasIKE        func() bool
	Uptime        func() (boot string, up time.Duration, err error)
	NewStrongswan func(*slog.Logger, StrongswanTimes) Strongswan
}

// StrongswanTimes are called with how long something took, on goroutines of the client.
type StrongswanTimes struct {
	Compared func(time.Duration) // a comparison of all SAs with charon's
	Secured  func(time.Duration) // from dialling a peer until its SA was up
}

// Tunnel keeps one mGRE interface as configured; see tunnel.Tunnel.
type Tunnel interface {
	Run(ctx context.Context, changed func(tunnel.State)) error
	SetDormant(dormant bool)
	SendFrom(device string)
	Remove() error
}

// Links keeps the devices of the peers at IPv6 addresses; see peerlink.Links.
type Links interface {
	Run(ctx context.Context) error
	Want(name, remote netip.Addr) error
	Unwant(name netip.Addr)
	Settle()
	Stats() peerlink.Stats
}

// Tables keeps the kernel's neighbours and routes as the engine wants them; see tables.Tables.
type Tables interface {
	Run(ctx context.Context) error
	Want(changes []tables.Change)
	Pin(owner string, rule rtnl.Rule)
	After(f func())
	Resync()
	Settle()
	RemoveUnsecured(device string, secured func(nbma netip.Addr) bool)
	Stats() tables.Stats
}

// Socket sends and receives NHRP packets on one tunnel device; see nhrpsocket.Socket.
type Socket interface {
	ReadBatch(ms []nhrpsocket.Message) (int, error)
	WriteBatch(ms []nhrpsocket.Message) (int, error)
	Stats() (nhrpsocket.Stats, error)
	Close() error
}

// Replicator copies what is sent to groups over a tunnel to the receivers; see
// multicast.Replicator.
type Replicator interface {
	Want(changes []multicast.Change) error
	Run(ctx context.Context) error
	State() multicast.State
	Stats() (multicast.Stats, error)
	Close() error
}

// Strongswan has charon make and end the SAs with peers; see vici.Client. What it calls an
// interface is an SA group; see package sagroup.
type Strongswan interface {
	Run(ctx context.Context) error
	SetProfile(profile.Profile)
	RemoveProfile(group string)
	Report(group string)
	Want(vici.Key, vici.Want)
	Close(vici.Key)
	Expel(k vici.Key, identity string)
	Events() <-chan vici.Event
	SAs() []vici.SA
	SPIs(ctx context.Context) (map[uint32]bool, error)
	Repair(spis []uint32)
	Counted(in, out map[uint32]vici.Count)
	Traffic() (map[string]vici.Traffic, map[vici.Key]vici.Traffic)
	Probe(spis []uint32)
	AllowMarks(serial uint64)
	Status() vici.Status
}
