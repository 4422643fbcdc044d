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

// collision is two routers that dial each other at once, with a tunnel between them.
type collision struct {
	r [2]*router
	w [2]*watch

	peer    string // the second one's address in the tunnel
	up      time.Time
	lasting time.Time // zero: not yet
	pings   *exec.Cmd
	out     bytes.Buffer
}

// Both ends dial at once, 40 times: see collide.
func TestCollisions(t *testing.T) { collide(t, 4) }

// The same 200 times, for the rarer orders of messages.
func TestManyCollisions(t *testing.T) { collide(t, 20) }

// collide has both ends dial at once, ten pairs in parallel, each end up to 50 ms after the
// other. Once an SA is up at both ends, one IKE_SA with one CHILD_SA is left, the same at both,
// and no packet is lost from when both are told of it on.
func collide(t *testing.T, rounds int) {
	const (
		pairs              = 10
		skew               = 50 * time.Millisecond
		checkingDuplicates = 30 * time.Second // a deadline: what it takes is logged
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
		// charon keeps the inbound state of a rekeyed SA for five seconds more, for what is under
		// way.
		eventually(t, fmt.Sprintf("round %d: two ESP states in every kernel", round+1),
			func() bool {
				return shell(t,
					fmt.Sprintf("for i in $(seq %d); do ip -n r$i xfrm state | grep -c '^src'; done",
						2*pairs)) == strings.Repeat("2\n", 2*pairs)
			})
		for _, c := range all {
			c.end()
		}
	}
	t.Logf("%d of %d dialled twice; settled at the latest %v after both were up", duplicates,
		pairs*rounds, slowest.Round(10*time.Millisecond))
	if duplicates == 0 {
		t.Error("nobody ever dialled twice: it proves nothing")
	}
}

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

// dial has both ends dial, each within the skew.
func (c *collision) dial(skew time.Duration) {
	for i := range c.w {
		time.AfterFunc(rand.N(skew), func() { c.w[i].Want(c.r[1-i].key(), Initiate) })
	}
}

// there tells whether both ends have an SA.
func (c *collision) there() bool {
	return !slices.ContainsFunc(c.w[:], func(w *watch) bool {
		return !slices.ContainsFunc(w.SAs(), func(sa SA) bool { return len(sa.Children) > 0 })
	})
}

// start awaits that both ends are told of an SA, and starts a train of packets that takes as long
// as the settling may.
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

// alike tells whether both ends have one and the same IKE_SA with one CHILD_SA.
func (c *collision) alike() bool {
	a, b := c.w[0].SAs(), c.w[1].SAs()
	return len(a) == 1 && len(b) == 1 && a[0].InitiatorSPI == b[0].InitiatorSPI &&
		len(a[0].Children) == 1 && len(b[0].Children) == 1
}

// unsettled says what both ends of each pair that is not settled have.
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

// end takes the pair's SA down, for the next round.
func (c *collision) end() {
	for i := range c.w {
		c.w[i].Want(c.r[1-i].key(), Accept)
	}
	c.w[0].Close(c.r[1].key())
	for i := range c.w {
		c.w[i].down(c.r[1-i].key())
	}
}
