package nhrpd

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/sysctl"
	"cygnet/kernel/tables"
	"cygnet/kernel/tunnel"
	"cygnet/kernel/watch"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/cleargre"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/preflight"
	"cygnet/nhrpd/resolve"
	"cygnet/vici"
	"cygnet/vici/profile"
)

// Platform is what the daemon runs on: the kernel, the resolver and strongSwan. Each field is one
// function that the daemon calls. Linux returns the real platform, and so shows which package has
// and documents the function; tests bring their own.
type Platform struct {
	NewTunnel   func(tunnel.Config, *slog.Logger) Tunnel
	NewTables   func(log *slog.Logger, room int) Tables
	WatchRoutes func(
		ctx context.Context, log *slog.Logger, tables []uint32, f func(watch.RouteBatch),
	) error
	Listen         func(index int) (Socket, error)
	AttachDataPath func(log *slog.Logger, cfg datapath.Config) (datapath.Path, error)
	WatchMisses    func(
		ctx context.Context, log *slog.Logger, index int, f func(protocol netip.Addr),
	) error
	Lookup       resolve.Lookup
	ListenAPI    func(path, group string) (net.Listener, error)
	Check        func(sysctl.CheckConfig) []sysctl.Advice
	Strongswan   func(*config.Config) []preflight.Finding // about charon's settings
	Certificates func(*config.Config) []preflight.Finding
	Surroundings func(
		c *config.Config, outer func(*config.Interface) []netip.Addr,
	) []preflight.Finding
	Network       func(*config.Config) []preflight.Finding // about devices and addresses
	Detach        func(device string) error
	FindLeftovers func() (tunnel.Leftovers, error)
	Abandon       func(
		ctx context.Context, socket string, gone func(iface string) bool, sites ...string,
	) error
	ESPStates     func(local netip.Addr) ([]xfrm.ESPState, error)
	DeleteStates  func([]xfrm.ESPState) error
	MarkedPeers   func(local netip.Addr) (map[netip.Addr]netip.Addr, error)
	ClearIn       func() (uint64, error)
	PolicyUse     func(local netip.Addr) (map[netip.Addr]time.Time, error)
	EnsureFront   func(local netip.Addr, wanted bool) (bool, error)
	NewFence      func(*slog.Logger) cleargre.Fence
	ClearCauses   func(local netip.Addr, devices []string) ([]string, error)
	UnsentOf      func(tunnel string) (datapath.Unsent, error)
	DeletedStates func() (cleargre.DeletedStates, error)
	OwnRoutes     func() ([]rtnl.Route, error)
	Overhear      func(
		ctx context.Context, kind nhrpsocket.Stray, local netip.Addr, f func(from netip.Addr),
	) error
	HasIKE        func() bool
	Uptime        func() (boot string, up time.Duration, err error)
	NewStrongswan func(*slog.Logger) Strongswan
}

// Tunnel keeps one mGRE interface as configured; see tunnel.Tunnel.
type Tunnel interface {
	Run(ctx context.Context, changed func(tunnel.State)) error
	Remove() error
}

// Tables keeps the kernel's neighbours and routes as the engine wants them; see tables.Tables.
type Tables interface {
	Run(ctx context.Context) error
	Want(changes []tables.Change)
	After(f func())
	Resync()
	Settle()
	Stats() tables.Stats
}

// Socket sends and receives NHRP packets on one tunnel device; see nhrpsocket.Socket.
type Socket interface {
	ReadBatch(ms []nhrpsocket.Message) (int, error)
	WriteBatch(ms []nhrpsocket.Message) (int, error)
	Stats() (nhrpsocket.Stats, error)
	Close() error
}

// Strongswan has charon make and end the SAs with peers; see vici.Client.
type Strongswan interface {
	Run(ctx context.Context) error
	SetProfile(profile.Profile)
	RemoveProfile(iface string)
	Want(vici.Key, vici.Want)
	Close(vici.Key)
	Expel(k vici.Key, identity string)
	Events() <-chan vici.Event
	SAs() []vici.SA
	SPIs(ctx context.Context) (map[uint32]bool, error)
	Repair(spis []uint32)
	Counted(in, out map[uint32]uint64)
	Probe(spis []uint32)
	AllowMarks(serial uint64)
	Status() vici.Status
}
