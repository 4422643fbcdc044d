//go:build lab

package scenario

import (
	"fmt"
	"testing"
	"time"

	"cygnet/test/lab"
)

// A hub with 40 spokes starts and restarts, as crowdComesBack does it.
func TestFaultSmallCrowd(t *testing.T) { crowdComesBack(t, 40) }

// The same with 300 spokes, which takes minutes.
func TestFaultCrowd(t *testing.T) { crowdComesBack(t, 300) }

// crowdComesBack starts a hub with many spokes and restarts it in two ways. First its charon is
// terminated, so that all spokes learn of it and dial at the same time. Then everything on the hub
// dies at once, with the kernel's SAs, policies and tunnel: no spoke learns of it, and the hub
// dials all spokes that it knew, as many at a time as max_initiations says. Each time all spokes
// are back within 90 seconds, with one processor for both ends.
func crowdComesBack(t *testing.T, size int) {
	const promised = 90 * time.Second
	m := lab.NewMesh(t)
	m.Hub.Interface[0] = `address = "10.255.0.1/16"`
	m.Hub.Start()
	begin := time.Now()
	c := newCrowd(m, size)
	back := func(what string, there func() int) {
		t.Helper()
		m.Await(what, promised, func() error {
			if n := there(); n < size {
				return fmt.Errorf("%d of %d are", n, size)
			}
			return nil
		})
		t.Logf("%s after %s", what, time.Since(begin).Round(100*time.Millisecond))
		m.Await("each has one SA, at both ends, and is the hub's neighbour", cleanup, func() error {
			return c.alone()
		})
	}
	registered := func() int { return c.registeredSince(begin) }
	back("all spokes are registered", registered)

	t.Log("== SIGTERM of the hub's charon")
	begin = time.Now()
	m.Hub.Charon.Terminate()
	m.Hub.Charon.Start()
	back("all spokes are registered again", registered)

	t.Log("== the hub dies and boots again")
	m.Hub.Daemon.Kill()
	m.Hub.Charon.Kill()
	m.Hub.Run("ip", "xfrm", "state", "flush")
	m.Hub.Run("ip", "xfrm", "policy", "flush")
	m.Hub.IP("link del gre1")
	begin = time.Now()
	m.Hub.Charon.Start()
	m.Hub.Daemon.Start()
	// To the spokes this is only another SA with a hub at which they are registered, so the hub has
	// to say whether they are back.
	back("all spokes are bound and secured", func() int { return c.boundAndSecured() })
	alive(m)
	encrypted(m)
}
