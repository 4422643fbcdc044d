// Package api is how other programs read the daemon's state and control it: HTTP with JSON on a
// unix socket. The package has the types, the server and the client.
//
// Times are in RFC 3339 form, durations are in seconds, and addresses and prefixes are strings. A
// field without a value is left out, except that a list is always there, even if empty. Later
// versions may add fields, so readers must ignore fields that they do not know.
//
//	GET  /v1/version     VersionInfo
//	GET  /v1/status      Status
//	GET  /v1/peers       list of Peer
//	GET  /v1/bindings    list of Binding
//	GET  /v1/shortcuts   list of Shortcut
//	GET  /v1/nhs         list of NHS
//	GET  /v1/routes      list of Route
//	GET  /v1/sas         list of SA
//	GET  /v1/blocked     list of Blocked
//	GET  /v1/pairs       list of Pair
//	GET  /v1/explain     Explanation; destination=ADDRESS, and source=ADDRESS if wanted
//	POST /v1/leave       LeaveRequest, answered with 204
//	POST /v1/drain       DrainRequest, answered with 204
//	POST /v1/reload      ReloadRequest, answered with Reloaded
//	POST /v1/block       BlockRequest, answered with 204
//	POST /v1/unblock     UnblockRequest, answered with 204
//	POST /v1/log         LogRequest, answered with 204
//	POST /v1/resolve     ResolveRequest, answered with an Explanation
//	POST /v1/ping        PingRequest, answered with a PingResult
//	POST /v1/clear       ClearRequest, answered with a list of Cleared
//	POST /v1/register    RegisterRequest, answered with a list of NHS
//	GET  /v1/monitor     stream of Monitored, one JSON object a line; peer, interface, type
//	GET  /v1/events      Event after Event, a line each; see below
//	GET  /metrics        Prometheus text format
//
// /v1/events is a stream: one JSON object a line (NDJSON). The query says which events: since, the
// number of the last event that the reader has, or a duration such as 1h, or "now"; journal, which
// belongs to that number; peer, as in [EventQuery]; and follow=true, which has the stream go on.
// The headers Cygnet-Journal and Cygnet-Last have what [EventJournal] has. A reader that does not
// take an event for ten seconds is dropped.
//
// The metrics can also be served at a place of their own, which has nothing else ([ServeMetrics]).
//
// A request that fails is answered with an HTTP status of 400 or above and a [Failure].
package api

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// ErrBusy means that a bound on what the daemon does at a time is reached.
var ErrBusy = errors.New("too many at a time")

// Daemon is what the server needs of the daemon. Its methods are called from many goroutines at a
// time and return early when the context ends.
type Daemon interface {
	// Status returns a copy of the daemon's state, which the caller may keep and change.
	Status(ctx context.Context) (*Status, error)
	// SAs returns the SAs with the byte counts that the kernel has now. The counts in Status may be
	// a minute old.
	SAs(ctx context.Context) ([]SA, error)
	// Explain gives the account of why packets to an address go the way they go. source is the zero
	// address for the packets of this router and of the networks behind it.
	Explain(ctx context.Context, destination, source netip.Addr) (*Explanation, error)
	// Pairs returns what this router remembers of the paths between other routers, the oldest
	// first.
	Pairs(ctx context.Context) ([]Pair, error)
	// Leave says goodbye on an interface, or on all if the name is empty, and returns when that is
	// done. If the daemon has no such interface, the error wraps ErrNoInterface; if the interface
	// has left already, it wraps ErrRefused.
	Leave(ctx context.Context, iface string) error
	// Drain asks the clients of an interface away, or of all if the name is empty, or with off no
	// longer does so. If the daemon has no such interface, the error wraps ErrNoInterface.
	Drain(ctx context.Context, iface string, off bool) error
	// Reload reads the configuration file and applies it, or with dryRun only tells what that would
	// change. It returns when the changed interfaces have been tried. If the file is faulty,
	// everything stays as it is, and the error wraps ErrRefused.
	Reload(ctx context.Context, dryRun bool) (*Reloaded, error)
	// Block shuts an IKE identity out, for d or, if d is 0, until Unblock. It returns when the
	// block is saved and has begun to take effect. If identity cannot be an identity, the error
	// wraps ErrRefused.
	Block(ctx context.Context, identity string, d time.Duration) error
	// Unblock ends a block. If there is none, the error wraps ErrRefused.
	Unblock(ctx context.Context, identity string) error
	// Resolve asks for a direct path to an address now, and returns the account of what came of it.
	// If it cannot ask, the error wraps ErrRefused.
	Resolve(ctx context.Context, destination netip.Addr) (*Explanation, error)
	// Ping sends NHRP packets to the router with an overlay or NBMA address, and returns which were
	// answered. With search it finds the longest packet that passes. If no such router is known,
	// the error wraps ErrRefused.
	Ping(ctx context.Context, address netip.Addr, search bool) (*PingResult, error)
	// Clear ends the shortcuts, the SAs or the binding that an address is about. If there is none,
	// the error wraps ErrRefused.
	Clear(ctx context.Context, what Clearable, address netip.Addr) ([]Cleared, error)
	// Monitor returns copies of the NHRP packets that come and go from now on until the context
	// ends, which closes the channel. Packets that come faster than they are taken are lost and
	// counted. If there is no such interface, the error wraps ErrNoInterface, and ErrRefused if
	// there is no such type of messages.
	Monitor(ctx context.Context, q MonitorQuery) (<-chan Monitored, error)
	// Register registers at once with the next hop servers of an interface, or of all if the name
	// is empty. It waits a few seconds for their replies, and returns the state of each.
	Register(ctx context.Context, iface string) ([]NHS, error)
	// SetLog sets the level of the log. If the request cannot be, the error wraps ErrRefused.
	SetLog(ctx context.Context, r LogRequest) error

	EventSource
}

// ErrNoInterface means that the daemon has no interface of that name.
var ErrNoInterface = errors.New("no such interface in the daemon's configuration")

// ErrRefused is wrapped by errors that are due to the request, not to the daemon.
var ErrRefused = errors.New("refused")
