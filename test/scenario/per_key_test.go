//go:build lab

package scenario

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// newOverlaysPerKey is newTwoOverlays with an SA pair for each overlay, which is for the overlay's
// GRE key alone.
func newOverlaysPerKey(t *testing.T, options ...lab.MeshOption) *lab.Mesh {
	m := newTwoOverlays(t, options...)
	keys := strings.NewReplacer("key = 42", "key = 2752554", "key = 43", "key = 2818091")
	m.AddIPsec(`sa = "per-key"`)
	for _, s := range m.Sites() {
		for _, lines := range [][]string{s.Interface, s.Further} {
			for i := range lines {
				lines[i] = keys.Replace(lines[i])
			}
		}
		s.Further = append(s.Further, `sa = "per-key"`)
	}
	return m
}

// ownPairs returns nil when two sites have one IKE_SA with each other for each of some tunnels,
// with one CHILD_SA, and no other.
func ownPairs(s, peer *lab.Site, devices ...string) error {
	for _, ends := range [][2]*lab.Site{{s, peer}, {peer, s}} {
		sas, of := ends[0].Charon.With(ends[1].Public), map[string]int{}
		for _, sa := range sas {
			if len(sa.SPIs) == 2 {
				of[sa.Child]++
			}
		}
		for _, device := range devices {
			if of["gre-"+device] != 1 || len(sas) != len(devices) {
				return fmt.Errorf("charon on %s has for %s: %+v", ends[0].Name, ends[1].Name, sas)
			}
		}
	}
	return nil
}

// awaitOwnPairs awaits that two sites have an IKE_SA with each other for each of some tunnels, and
// returns the name of the one for the last tunnel, by which both ends know it.
func awaitOwnPairs(m *lab.Mesh, s, peer *lab.Site, devices ...string) string {
	m.Helper()
	m.Await(fmt.Sprintf("SAs of %v between %s and %s", devices, s.Name, peer.Name), soon,
		func() error { return ownPairs(s, peer, devices...) })
	for _, sa := range s.Charon.With(peer.Public) {
		if sa.Child == "gre-"+devices[len(devices)-1] {
			return sa.IKE
		}
	}
	m.Fatalf("%s has lost its SA with %s", s.Name, peer.Name)
	return ""
}

// Two overlays are on one address of each router, with an SA pair each. The pair of one overlay
// does not carry the other, not even before the other has one: the sender's kernel blocks it. Each
// pair comes with the first use in its overlay and goes with the last.
func TestOverlaysPerKeyHaveSAsOfTheirOwn(t *testing.T) {
	m := newOverlaysPerKey(t)
	startTwoOverlays(m)
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		awaitOwnPairs(m, m.Hub, s, "gre1", "gre2")
	}
	first := m.Spoke1.Host.Train(m.Spoke2.Host.Addr, 50*time.Millisecond)
	m.Await("a shortcut in the first overlay", soon, func() error { return up(m.Spoke1, m.Spoke2) })
	m.Await("and back", soon, func() error { return up(m.Spoke2, m.Spoke1) })
	awaitOwnPairs(m, m.Spoke1, m.Spoke2, "gre1")
	before, blocked := notAdmitted(m, m.Spoke1), blockedOut(m, m.Spoke2)
	knock(m, m.Spoke2, m.Spoke1)
	if now := blockedOut(m, m.Spoke2); now < blocked+5 {
		t.Errorf("the kernel of %s blocked %d packets of the second overlay, %d before",
			m.Spoke2.Name, now, blocked)
	}
	if now := notAdmitted(m, m.Spoke1); now != before {
		t.Errorf("%d packets of the second overlay got through the SA of the first", now-before)
	}

	begin, other := time.Now(), flowTo(m.Spoke1, m.Spoke2)
	m.Await("a shortcut in the second overlay", soon, func() error {
		return upSecond(m.Spoke1, m.Spoke2)
	})
	m.Await("and back", soon, func() error { return upSecond(m.Spoke2, m.Spoke1) })
	pair := awaitOwnPairs(m, m.Spoke1, m.Spoke2, "gre1", "gre2")
	first.Stop()
	m.Await("the SA of the first overlay ends with its last use", later, func() error {
		return ownPairs(m.Spoke1, m.Spoke2, "gre2")
	})
	if now := awaitOwnPairs(m, m.Spoke1, m.Spoke2, "gre2"); now != pair {
		t.Errorf("the SA of the second overlay was replaced")
	}
	lossless(m, begin, []*lab.Flow{other})
	other.Stop()
	for _, s := range [][2]*lab.Site{{m.Spoke1, m.Spoke2}, {m.Spoke2, m.Spoke1}} {
		m.Await("the SA of the second overlay ends as well", soon, func() error {
			return unsecured(s[0], s[1])
		})
	}
	alive(m)
	encrypted(m)
}

// As TestOverlayOnOneAddressGoes, with an SA pair for each overlay: the one that stays keeps its
// own.
func TestOverlayPerKeyGoes(t *testing.T) {
	overlayGoes(newOverlaysPerKey(t), func(s, peer *lab.Site) error {
		return ownPairs(s, peer, "gre1", "gre2")
	})
}

// Two spokes are behind one NAT address and in two overlays with an SA pair each. The hub leads to
// each of them by its own SA in each overlay.
func TestOverlaysPerKeyBehindNAT(t *testing.T) {
	m := newOverlaysPerKey(t, lab.SpokesBehindOneNAT())
	startTwoOverlays(m)
	// The arrival of the second spoke may have closed the first one's SAs, also after that one was
	// registered. A spoke has its new SAs before the hub sends by them.
	m.Await("each spoke has an IKE_SA with the hub for each overlay, and is reached", soon,
		func() error {
			for _, s := range m.Sites()[1:] {
				of := map[string]int{}
				for _, sa := range s.Charon.With(m.Hub.Public) {
					of[sa.Child]++
				}
				if len(of) != 2 || of["gre-gre1"] != 1 || of["gre-gre2"] != 1 {
					return fmt.Errorf("%s has %v", s.Name, of)
				}
				if err := errors.Join(m.Hub.Host.Reaches(s.Host.Addr),
					m.Hub.Host.Reaches(secondOf(s).host)); err != nil {
					return err
				}
			}
			return nil
		})
	for _, s := range m.Sites()[1:] {
		m.Hub.Host.Ping(s.Host.Addr, 3)
		m.Hub.Host.Ping(secondOf(s).host, 3)
	}
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 3)
	m.Spoke1.Host.Ping(secondOf(m.Spoke2).host, 3)
	alive(m)
	encrypted(m)
}

// blockedOut returns how many packets a site's kernel has blocked on their way out since no SA
// takes them.
func blockedOut(m *lab.Mesh, s *lab.Site) (packets uint64) {
	m.Helper()
	for line := range strings.Lines(s.Run("cat", "/proc/net/xfrm_stat")) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "XfrmOutPolBlock" {
			fmt.Sscan(fields[1], &packets)
		}
	}
	return packets
}
