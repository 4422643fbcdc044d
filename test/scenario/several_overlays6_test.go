//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// Two overlays are on one IPv6 address of each router, with a key each. They share the SA with each
// router, and each has a device of its own for it. When somebody deletes the one, the other loses
// nothing, and the deleted one comes back. Both follow when a spoke's address changes: the
// shortcuts too, and of the old address no device is left.
func TestOverlaysOnOneIPv6Address(t *testing.T) {
	m := newTwoOverlays(t)
	onlyIPv6(m)
	for _, s := range m.Sites()[1:] {
		for i := range s.Further {
			s.Further[i] = replace(s.Further[i], "192.0.2.1", m.Hub.Public.String())
		}
	}
	startTwoOverlays(m)
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		awaitOnePair(m, m.Hub, s)
	}
	first, other := m.Spoke1.Host.Flow(m.Spoke2.Host.Addr, beat), flowTo(m.Spoke1, m.Spoke2)
	direct := func(what string) {
		t.Helper()
		for _, ends := range [][2]*lab.Site{{m.Spoke1, m.Spoke2}, {m.Spoke2, m.Spoke1}} {
			m.Await(what+": shortcuts of "+ends[0].Name, later, func() error {
				if err := up(ends[0], ends[1]); err != nil {
					return err
				}
				return upSecond(ends[0], ends[1])
			})
		}
	}
	direct("at first")
	awaitOnePair(m, m.Spoke1, m.Spoke2)

	first.Back(time.Now(), soon)
	other.Back(time.Now(), soon)
	begin, link := time.Now(), linkTo(m, m.Spoke1, m.Spoke2, "gre2")
	m.Spoke1.IP("link del " + link)
	m.Await("the device is back", soon, func() error {
		return lab.True(m.Spoke1.HasDevice(link), "it is not")
	})
	other.Back(time.Now(), soon)
	lossless(m, begin, []*lab.Flow{first})

	before, moved := m.Spoke1.Public, netip.MustParseAddr("2001:db8::99")
	m.Spoke1.IP(fmt.Sprintf("addr add %s/64 dev eth0 nodad", moved),
		fmt.Sprintf("addr change %s/64 dev eth0 preferred_lft 0", before))
	m.Spoke1.Public = moved
	begin = time.Now()
	registered(m, m.Spoke1, later)
	registeredSecond(m, m.Spoke1, later)
	m.Spoke1.IP(fmt.Sprintf("addr del %s/64 dev eth0", before))
	direct("after the move")
	for _, f := range []*lab.Flow{first, other} {
		f.Back(time.Now(), soon)
		_, lost, longest := f.Loss(begin)
		t.Logf("%s: the move lost %d packets, for at most %s", f.Name, lost, longest)
	}
	for _, s := range []*lab.Site{m.Hub, m.Spoke2} {
		m.Await(s.Name+" has no device for the old address", later, func() error {
			out := s.Run("ip", "-d", "-o", "link", "show", "type", "ip6gre")
			return lab.True(!strings.Contains(out, "remote "+before.String()+" "), "%s", out)
		})
	}
	alive(m)
	encrypted(m)
}
