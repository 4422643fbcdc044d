package vici

import (
	"context"
	"errors"
	"fmt"

	"cygnet/vici/ike"
	"cygnet/vici/session"
)

// Counted passes on what the kernel has counted by now, in bytes by the SPIs of its ESP states, in
// and out; see [ike.Counters]. The maps are the client's from then on.
func (c *Client) Counted(in, out map[uint32]uint64) {
	c.post(func(r *reconciler) { r.counters.Renew(ike.Counters{In: in, Out: out}, r.sas) })
}

// ErrNotConnected is the error of a question while charon is away.
var ErrNotConnected = errors.New("charon is not connected")

// SPIs asks charon for the SPIs of all its CHILD_SAs, in both directions, including those of
// connections that are not ours. ESP states in the kernel with another SPI are not this charon's.
// CHILD_SAs that were rekeyed are in the answer until they are deleted.
func (c *Client) SPIs(ctx context.Context) (map[uint32]bool, error) {
	var spis map[uint32]bool
	answer := make(chan error, 1)
	c.post(func(r *reconciler) {
		if !r.synced {
			answer <- ErrNotConnected
			return
		}
		r.do(func(ctx context.Context, s *session.Session) (err error) {
			spis, err = ike.ListSPIs(ctx, s, r.times.list)
			return err
		}, func(err error) { answer <- err })
	})
	select {
	case err := <-answer:
		if err != nil {
			return nil, fmt.Errorf("ask for all SPIs: %w", err)
		}
		return spis, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("ask for all SPIs: %w", context.Cause(ctx))
	}
}
