// Package api is how other programs see and steer the daemon: HTTP with JSON on a unix socket, its types, server and client.
//
// Times are RFC 3339, durations seconds, addresses and prefixes strings; a field without a value is left out, a list never is.
// Fields may be added at any time, so readers must ignore those that they do not know.
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
// What fails is answered with an HTTP status of 400 and above and a [Failure].
package api

import (
	"context"
	"errors"
	"time"
)

// Daemon is what the server serves. Its methods are called from many goroutines at a time and return early when the context ends.
type Daemon interface {
	// Status returns a copy of everything, which the caller may keep and change.
	Status(ctx context.Context) (*Status, error)
	// SAs lists the SAs with the byte counts that the kernel has now. Those of Status may be a minute old.
	SAs(ctx context.Context) ([]SA, error)
	// Leave says goodbye on an interface, on all with an empty name, and returns when that is done. For an interface that the
	// daemon does not have, the error wraps ErrNoInterface; for one that has left already, ErrRefused.
	Leave(ctx context.Context, iface string) error
	// Block shuts an IKE identity out, for d or, with 0, until Unblock, and returns when that is under way and saved. What cannot be
	// an identity is an error that wraps ErrRefused.
	Block(ctx context.Context, identity string, d time.Duration) error
	// Unblock takes a block back. Where there is none, the error wraps ErrRefused.
	Unblock(ctx context.Context, identity string) error
}

// ErrNoInterface says that the daemon has no interface of the name given.
var ErrNoInterface = errors.New("no such interface in the daemon's configuration")

// ErrRefused is in errors about what was asked for, not about the daemon.
var ErrRefused = errors.New("refused")
