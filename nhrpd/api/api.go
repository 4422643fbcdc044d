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
//	POST /v1/leave       LeaveRequest, answered with 204
//	POST /v1/block       BlockRequest, answered with 204
//	POST /v1/unblock     UnblockRequest, answered with 204
//	GET  /metrics        Prometheus text format
//
// A request that fails is answered with an HTTP status of 400 or above and a [Failure].
package api

import (
	"context"
	"errors"
	"time"
)

// Daemon is what the server needs of the daemon. Its methods are called from many goroutines at a
// time and return early when the context ends.
type Daemon interface {
	// Status returns a copy of the daemon's state, which the caller may keep and change.
	Status(ctx context.Context) (*Status, error)
	// SAs returns the SAs with the byte counts that the kernel has now. The counts in Status may be
	// a minute old.
	SAs(ctx context.Context) ([]SA, error)
	// Leave says goodbye on an interface, or on all if the name is empty, and returns when that is
	// done. If the daemon has no such interface, the error wraps ErrNoInterface; if the interface
	// has left already, it wraps ErrRefused.
	Leave(ctx context.Context, iface string) error
	// Block shuts an IKE identity out, for d or, if d is 0, until Unblock. It returns when the
	// block is saved and has begun to take effect. If identity cannot be an identity, the error
	// wraps ErrRefused.
	Block(ctx context.Context, identity string, d time.Duration) error
	// Unblock ends a block. If there is none, the error wraps ErrRefused.
	Unblock(ctx context.Context, identity string) error
}

// ErrNoInterface means that the daemon has no interface of that name.
var ErrNoInterface = errors.New("no such interface in the daemon's configuration")

// ErrRefused is wrapped by errors that are due to the request, not to the daemon.
var ErrRefused = errors.New("refused")
