package vici

import (
	"context"
	"errors"
	"fmt"

	govici "github.com/strongswan/govici/vici"
)

// ErrNotConnected says that charon cannot be asked now.
var ErrNotConnected = errors.New("charon is not connected")

// SPIs asks charon for the SPIs of all its CHILD_SAs, in both directions, those of connections that are not ours included. States in the
// kernel with another SPI are no work of this charon's. Rekeyed CHILD_SAs are in it until they are deleted.
func (c *Client) SPIs(ctx context.Context) (map[uint32]bool, error) {
	spis := make(map[uint32]bool)
	answer := make(chan error, 1)
	c.post(func(r *reconciler) {
		if !r.synced {
			answer <- ErrNotConnected
			return
		}
		r.do(func(ctx context.Context, s *session) error {
			m, err := message(nil)
			if err != nil {
				return err
			}
			return s.stream(ctx, r.times.list, "list-sas", "list-sa", m, func(item *govici.Message) {
				_, bodies := sections(item)
				for _, body := range bodies {
					addSPIs(spis, body)
				}
			})
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
