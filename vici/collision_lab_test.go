//go:build lab

package vici

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// collision is a pair of routers that dial each other at once, with a tunnel between them.
type collision struct {
	r [2]*router
	w [2]*watch

	peer    string       // the second router's address in the tunnel
	up      time.Time    // when both ends had an SA
	lasting time.Time    // since when both ends have the same single SA; zero: not yet
	pings   *exec.Cmd    // the running ping
	out     bytes.Buffer // the output of ping
}

// Both ends dial at once, 40 times: see collide.
func TestCollisions(t *testing.T) { collide(t, 4) }

// Both ends dial at once, 200 times, so that rarer orders of messages occur too: see collide.
func TestManyCollisions(t *testing.T) { collide(t, 20) }

// collide makes both ends of ten pairs dial at once, each end up to 50 ms after the other. After an
// SA is up at both ends, exactly one IKE_SA with one CHILD_SA is left, the same at both ends. No
// packet is lost from the time at which both clients have reported an SA.
func collide(t *testing.T, rounds int) {
	const (
		pairs              = 10
		skew               = 50 * time.Millisecond
		checkingDuplicates = 30 * time.Second // a deadline; the test logs the time really taken
	)
	var all []*collision
	r := routers(t, 2*pairs)
	for i := range pairs {
		all = append(all, newCollision(t, i, r[2*i], r[2*i+1]))
	}
	duplicates, slowest := 0, time.Duration(0)
	for round := range rounds {
		for _, c := range all {
			c.dial(skew)
		}
		for _, c := range all {
			eventually(t, "an SA at both ends of "+c.r[0].name, c.there)
			c.up, c.lasting = time.Now(), time.Time{}
		}
		limit := time.Now().Add(checkingDuplicates)
		for _, c := range all {
			c.start(t)
		}
		doubled := map[*collision]bool{}
		for open := pairs; open > 0; {
			open = 0
			for _, c := range all {
				if len(c.w[0].SAs()) > 1 || len(c.w[1].SAs()) > 1 {
					doubled[c], c.lasting = true, time.Time{}
				}
				switch {
				case !c.lasting.IsZero():
				case c.alike():
					c.lasting = time.Now()
				default:
					open++
				}
			}
			if time.Now().After(limit) && open > 0 {
				t.Fatalf("round %d: %d pairs are not settled after %v:\n%s", round+1, open,
					checkingDuplicates, unsettled(all))
			}
			<-time.After(10 * time.Millisecond)
		}
		duplicates += len(doubled)
		for _, c := range all {
			if err := c.pings.Wait(); err != nil ||
				!strings.Contains(c.out.String(), " 0% packet loss") {
				t.Errorf("round %d, %s: packets were lost (%v):\n%s", round+1, c.r[0].name, err,
					c.out.String())
			}
			if !c.alike() {
				t.Errorf("round %d, %s: the ends have %+v and %+v", round+1, c.r[0].name,
					c.w[0].SAs(), c.w[1].SAs())
			}
			if doubled[c] {
				slowest = max(slowest, c.lasting.Sub(c.up))
			}
		}
		// charon keeps the inbound state of a rekeyed SA for five more seconds, for packets that
		// are still under way.
		eventually(t, fmt.Sprintf("round %d: two ESP states in every kernel", round+1),
			func() bool {
				return shell(t, fmt.Sprintf(
					"for i in $(seq %d); do ip -n r$i xfrm state | grep -c '^src'; done",
					2*pairs)) == strings.Repeat("2\n", 2*pairs)
			})
		for _, c := range all {
			c.end()
		}
	}
	t.Logf("%d of %d dialled twice; settled at the latest %v after both were up",
		duplicates, pairs*rounds, slowest.Round(10*time.Millisecond))
	if duplicates == 0 {
		t.Error("nobody ever dialled twice: it proves nothing")
	}
}

// newCollision makes the tunnel and the clients of a pair of routers.
func newCollision(t *testing.T, number int, a, b *router) *collision {
	t.Helper()
	c := &collision{r: [2]*router{a, b}, peer: fmt.Sprintf("10.9.%d.2", number)}
	for i, r := range c.r {
		shell(t,
			fmt.Sprintf(
				"ip -n %[1]s link add gre1 type gre local %[2]v remote %[3]v ttl 64; ip -n %[1]s addr add 10.9.%[4]d.%[5]d/24 dev gre1; ip -n %[1]s link set gre1 up",
				r.name, r.addr, c.r[1-i].addr, number, i+1))
		c.w[i] = r.client()
		c.w[i].SetProfile(r.applied())
		c.w[i].snapshot(0)
		eventually(t, "the template", func() bool { return r.loaded("cygnet-gre1") })
	}
	return c
}

// dial makes each end dial the other at a random time within the skew.
func (c *collision) dial(skew time.Duration) {
	for i := range c.w {
		time.AfterFunc(rand.N(skew), func() { c.w[i].Want(c.r[1-i].key(), Initiate) })
	}
}

// there reports whether both ends have an SA.
func (c *collision) there() bool {
	return !slices.ContainsFunc(c.w[:], func(w *watch) bool {
		return !slices.ContainsFunc(w.SAs(), func(sa SA) bool { return len(sa.Children) > 0 })
	})
}

// start waits until both clients have reported an SA, and starts a ping that lasts five seconds.
func (c *collision) start(t *testing.T) {
	t.Helper()
	for i := range c.w {
		c.w[i].up(c.r[1-i].key())
	}
	c.out.Reset()
	c.pings = exec.Command("ip", "netns", "exec", c.r[0].name, "ping", "-n", "-q", "-i", "0.05",
		"-c", "100", "-W", "5", c.peer)
	c.pings.Stdout, c.pings.Stderr = &c.out, &c.out
	if err := c.pings.Start(); err != nil {
		t.Fatal(err)
	}
}

// alike reports whether both ends have exactly one IKE_SA with one CHILD_SA, and it is the same
// IKE_SA.
func (c *collision) alike() bool {
	a, b := c.w[0].SAs(), c.w[1].SAs()
	return len(a) == 1 && len(b) == 1 && a[0].InitiatorSPI == b[0].InitiatorSPI &&
		len(a[0].Children) == 1 && len(b[0].Children) == 1
}

// unsettled returns the SAs at both ends of each pair whose ends do not have the same single SA.
func unsettled(all []*collision) string {
	var b strings.Builder
	for _, c := range all {
		if !c.lasting.IsZero() {
			continue
		}
		for i, w := range c.w {
			fmt.Fprintf(&b, "%s, up since %s:\n", c.r[i].name, c.up.Format(time.TimeOnly))
			for _, sa := range w.SAs() {
				fmt.Fprintf(&b, "\t%+v\n", sa)
			}
		}
	}
	return b.String()
}

// end closes the pair's SA before the next round.
func (c *collision) end() {
	for i := range c.w {
		c.w[i].Want(c.r[1-i].key(), Accept)
	}
	c.w[0].Close(c.r[1].key())
	for i := range c.w {
		c.w[i].down(c.r[1-i].key())
	}
}
