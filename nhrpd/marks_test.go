package nhrpd

import (
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/peername"
	"cygnet/nhrpd/policymark"
)

// markedInterface returns an open interface. The loop knows router 1 by its mark, at a NAT address.
func markedInterface(protected bool) *iface {
	return &iface{
		name:   "gre1",
		config: config.Interface{Name: "gre1", Protected: protected},
		marked: map[uint32]netip.Addr{1: netip.MustParseAddr("203.0.113.9")},
	}
}

// A packet with a router's mark is the router's only if it comes from the router's address. The
// site's firewall may set the same mark.
func TestMarkCountsWithItsOuterSourceOnly(t *testing.T) {
	nat, other := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("198.51.100.7")
	for name, test := range map[string]struct {
		mark      uint32
		from      netip.Addr
		protected bool
		want      peerid.ID
	}{
		"no mark":                         {0, nat, true, peerid.At(nat)},
		"a router that is known":          {1, nat, true, peerid.Marked(1)},
		"its mark, set by a firewall":     {1, other, true, peerid.At(other)},
		"a router that is about to be":    {2, nat, true, peerid.Marked(2)},
		"its mark, set by a firewall too": {2, other, true, peerid.At(other)},
		"a mark of nobody's":              {3, nat, true, peerid.At(nat)},
		"a mark that names nobody":        {1 << 24, nat, true, peerid.At(nat)},
		"where marks name nobody":         {1, nat, false, peerid.At(nat)},
		"no outer source":                 {3, netip.Addr{}, true, peerid.ID{}},
	} {
		t.Run(name, func(t *testing.T) {
			policies := policymark.New(func() (map[netip.Addr]netip.Addr, error) {
				return map[netip.Addr]netip.Addr{
					xfrm.MarkedNBMA(1): nat, xfrm.MarkedNBMA(2): nat,
				}, nil
			})
			m := &nhrpsocket.Message{NBMA: test.from, Mark: test.mark}
			byPolicy := policies.Has(time.Now(), m.Mark, m.NBMA)
			l := &loop{names: peername.New(nil)}
			if got := l.senderOf(markedInterface(test.protected), m, byPolicy); got != test.want {
				t.Errorf("mark %d from %s is %s's packet, want %s",
					test.mark, test.from, got, test.want)
			}
		})
	}
}

// The reader of NHRP packets finds out whether a router has a mark by the kernel's policies. The
// loop, which waits for nobody, takes the packet for that router's.
func TestReaderLooksMarksUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		nat := netip.MustParseAddr("203.0.113.9")
		var asked []netip.Addr
		w.markedPeers = func(local netip.Addr) map[netip.Addr]netip.Addr {
			asked = append(asked, local)
			return map[netip.Addr]netip.Addr{xfrm.MarkedNBMA(2): nat}
		}
		w.tunnels["gre1"].states <- tunnelThere
		synctest.Wait()
		asked = nil
		for _, from := range []string{"203.0.113.9", "203.0.113.10"} {
			w.socket(0).in <- nhrpsocket.Message{
				NBMA: netip.MustParseAddr(from), Mark: 2, Data: []byte("no NHRP"),
			}
			synctest.Wait()
		}
		if len(asked) != 1 || asked[0] != tunnelThere.Local {
			t.Errorf("the policies were listed for %v, want once for %s", asked, tunnelThere.Local)
		}
	})
}

// Each marked peer has a mark guard in the kernel, at the address where the peer is. The guard goes
// with the last interface that knows the peer. Without a local address there is none.
func TestMarkGuardsFollowMarkedPeers(t *testing.T) {
	nat, moved := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("203.0.113.10")
	w := newWorld(t)
	c := testConfig(t, []byte(spokeToml), t.TempDir())
	l, p := New("", c, w.platform(), io.Discard).loop, w.platform()
	for _, name := range []string{"gre1", "gre2"} {
		l.open(&runner{
			config:   config.Interface{Name: name, Protected: true},
			log:      slog.New(slog.DiscardHandler),
			platform: &p,
		})
		i := l.iface(name)
		i.state, i.channel = tunnelThere, &channel{path: &fakePath{world: w}}
	}
	at := func(outer ...netip.Addr) []xfrm.MarkGuard {
		var guards []xfrm.MarkGuard
		for _, o := range outer {
			guards = append(guards, xfrm.MarkGuard{Local: tunnelThere.Local, Outer: o, Mark: 1})
		}
		return guards
	}
	gone := netip.Addr{}
	for _, step := range []struct {
		what  string
		iface string
		outer netip.Addr
		want  []xfrm.MarkGuard
	}{
		{"the peer comes", "gre1", nat, at(nat)},
		{"its NAT gets another address", "gre1", moved, at(moved)},
		{"the other interface learns of it", "gre2", moved, at(moved)},
		{"it goes from one interface", "gre1", gone, at(moved)},
		{"it goes from the other", "gre2", gone, nil},
	} {
		l.out.Marked = []engine.MarkedChange{{
			Interface: step.iface, Mark: 1, Outer: step.outer, Delete: !step.outer.IsValid(),
		}}
		l.setMarked()
		if !slices.Equal(w.markGuards, step.want) {
			t.Errorf("%s: the kernel has %v, want %v", step.what, w.markGuards, step.want)
		}
	}
	l.iface("gre1").state.Local = netip.Addr{}
	l.out.Marked = []engine.MarkedChange{{Interface: "gre1", Mark: 1, Outer: nat}}
	l.setMarked()
	if len(w.markGuards) != 0 {
		t.Errorf("without a local address the kernel has %v", w.markGuards)
	}
}

// When the tunnel has its address, the mark guards that an earlier run left there go, except those
// of peers that this run knows.
func TestMarkGuardsOfAnEarlierRunGo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		left := func(mark uint32) xfrm.MarkGuard {
			return xfrm.MarkGuard{
				Local: tunnelThere.Local, Outer: netip.MustParseAddr("203.0.113.9"), Mark: mark,
			}
		}
		w.markGuards = []xfrm.MarkGuard{left(1), left(2)}
		if err := d.loop.call(t.Context(), func(time.Time) {
			d.loop.iface("gre1").marked[2] = left(2).Outer
		}); err != nil {
			t.Fatal(err)
		}
		w.tunnels["gre1"].states <- tunnelThere
		synctest.Wait()
		if want := []xfrm.MarkGuard{left(2)}; !slices.Equal(w.markGuards, want) {
			t.Errorf("the kernel has %v, want %v", w.markGuards, want)
		}
	})
}
