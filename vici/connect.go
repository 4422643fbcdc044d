package vici

import (
	"context"
	"errors"
	"time"

	"cygnet/vici/session"
)

// errGone is the cause of a link's end that charon brought about.
var errGone = errors.New("charon closed the connection: it stopped or was restarted")

// linkBackoff returns the waits between attempts to reach charon: 0.1 s to 0.3 s. An attempt costs
// nothing, and a charon that has returned refuses peers until it has our connections again.
func linkBackoff() session.Backoff {
	return session.Backoff{First: 100 * time.Millisecond, Last: 250 * time.Millisecond}
}

// peerBackoff returns the waits between attempts to secure a peer: 1 s to 60 s.
func peerBackoff() session.Backoff {
	return session.Backoff{First: time.Second, Last: 48 * time.Second}
}

// connect keeps a link to charon until ctx ends.
func (c *Client) connect(ctx context.Context) {
	owner := session.Owner{
		Connected: func(l *session.Link, charon session.Charon) {
			c.post(func(r *reconciler) { r.connected(l, charon) })
		},
		Report: func(l *session.Link, f func()) {
			c.post(func(r *reconciler) {
				if r.link == l {
					f()
				}
			})
		},
	}
	wait := linkBackoff()
	for ctx.Err() == nil {
		started := time.Now()
		err := session.Serve(ctx, c.dialer, c.times.command, owner)
		if ctx.Err() != nil {
			return
		}
		c.post(func(r *reconciler) { r.unreachable(err) })
		if time.Since(started) > time.Second {
			wait.Reset()
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait.Next()):
		}
	}
}
