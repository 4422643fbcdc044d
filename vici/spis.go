package vici

import (
	"context"
	"errors"
	"fmt"
	"time"

	govici "github.com/strongswan/govici/vici"
)

// ErrNotConnected says that charon cannot be asked now.
var ErrNotConnected = errors.New("charon is not connected")

// SPIs asks charon for the SPIs of all its CHILD_SAs, in both directions, those of connections that are not ours included. States in the
// kernel with another SPI are no work of this charon's. Rekeyed CHILD_SAs are in it until they are deleted.
func (c *Client) SPIs(ctx context.Context) (map[uint32]bool, error) {
	var spis map[uint32]bool
	answer := make(chan error, 1)
	c.post(func(r *reconciler) {
		if !r.synced {
			answer <- ErrNotConnected
			return
		}
		r.do(func(ctx context.Context, s *session) (err error) {
			spis, err = listSPIs(ctx, s, r.times.list)
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

// listSPIs asks charon for the SPIs of all CHILD_SAs.
func listSPIs(ctx context.Context, s *session, timeout time.Duration) (map[uint32]bool, error) {
	m, err := message(nil)
	if err != nil {
		return nil, err
	}
	spis := make(map[uint32]bool)
	err = s.stream(ctx, timeout, "list-sas", "list-sa", m, func(item *govici.Message) {
		_, bodies := sections(item)
		for _, body := range bodies {
			addSPIs(spis, body)
		}
	})
	return spis, err
}

// addSPIs adds those of one IKE_SA's children.
func addSPIs(spis map[uint32]bool, sa *govici.Message) {
	children, ok := sa.Get("child-sas").(*govici.Message)
	if !ok {
		return
	}
	_, bodies := sections(children)
	for _, body := range bodies {
		spis[uint32(number(body, "spi-in", 16))] = true
		spis[uint32(number(body, "spi-out", 16))] = true
	}
}
