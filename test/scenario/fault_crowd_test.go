//go:build lab

package scenario

import (
	"fmt"
	"testing"
	"time"

	"cygnet/test/lab"
)

// 300 spokes come to a hub at the same time: all are registered within 90 seconds, on one processor for both ends.
func TestFaultCrowd(t *testing.T) {
	const (
		size     = 300
		promised = 90 * time.Second
	)
	m := lab.NewMesh(t)
	m.Hub.Interface[0] = `address = "10.255.0.1/16"`
	m.Hub.Start()
	begin := time.Now()
	c := newCrowd(m, size)
	m.Await("all spokes are registered", promised, func() error {
		if n := c.registeredSince(begin); n < size {
			return fmt.Errorf("%d of %d are", n, size)
		}
		return nil
	})
	t.Logf("%d registered after %s", size, time.Since(begin).Round(100*time.Millisecond))
	m.Await("each has one SA, at both ends, and is the hub's neighbour", cleanup, func() error {
		hub, spokes, neighbors := m.Hub.Charon.SAs(), c.charon.SAs(), m.Hub.Neighbors("gre1")
		for i := 1; i <= size; i++ {
			if at := neighbors[c.overlay(i)]; at != c.nbma(i) {
				return fmt.Errorf("the hub's neighbour %s is at %s", c.overlay(i), at)
			}
		}
		return lab.True(len(hub) == size && len(spokes) == size, "the hub has %d SAs, the spokes have %d", len(hub), len(spokes))
	})
	alive(m)
	encrypted(m)
}
