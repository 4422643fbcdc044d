//go:build lab

package scenario

import (
	"fmt"
	"testing"
	"time"

	"cygnet/test/lab"
)

// A hub with 300 spokes restarts, in two ways: charon is terminated, so that all spokes know and dial at the same time; and everything
// dies at once, the kernel's SAs, policies and tunnel with it, so that no spoke knows, and the hub dials all those it knew, so many at
// a time as max_initiations says. Either way all are registered again in 90 seconds, on one processor for both ends.
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
	registeredAgain := func(since time.Time) {
		t.Helper()
		m.Await("all spokes are registered", promised, func() error {
			if n := c.registeredSince(since); n < size {
				return fmt.Errorf("%d of %d are", n, size)
			}
			return nil
		})
		t.Logf("%d registered after %s", size, time.Since(since).Round(100*time.Millisecond))
		m.Await("each has one SA, at both ends, and is the hub's neighbour", cleanup, func() error {
			hub, spokes, neighbors := m.Hub.Charon.SAs(), c.charon.SAs(), m.Hub.Neighbors("gre1")
			for i := 1; i <= size; i++ {
				if at := neighbors[c.overlay(i)]; at != c.nbma(i) {
					return fmt.Errorf("the hub's neighbour %s is at %s", c.overlay(i), at)
				}
			}
			return lab.True(len(hub) == size && len(spokes) == size, "the hub has %d SAs, the spokes have %d", len(hub), len(spokes))
		})
	}
	registeredAgain(begin)

	t.Log("== SIGTERM of the hub's charon")
	m.Hub.Charon.Terminate()
	m.Hub.Charon.Start()
	registeredAgain(time.Now())

	t.Log("== the hub dies and boots again")
	m.Hub.Daemon.Kill()
	m.Hub.Charon.Kill()
	m.Hub.Run("ip", "xfrm", "state", "flush")
	m.Hub.Run("ip", "xfrm", "policy", "flush")
	m.Hub.IP("link del gre1")
	m.Hub.Charon.Start()
	m.Hub.Daemon.Start()
	registeredAgain(time.Now())
	alive(m)
	encrypted(m)
}
