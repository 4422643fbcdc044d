package nhrpd

import (
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
)

// openNames returns the names of the open interfaces.
func openNames(l *loop) []string {
	var names []string
	for i := range l.opened() {
		names = append(names, i.name)
	}
	return slices.Sorted(slices.Values(names))
}

// The engine may know marked peers of an interface before it opens, and goes on to know them when
// it opens anew. The loop keeps them meanwhile, and nothing else.
func TestMarkedPeersOutlastAClosedInterface(t *testing.T) {
	const mark = 1
	outer := netip.MustParseAddr("203.0.113.9")
	l := newLoop(nil, nil, nil, nil)
	change := engine.MarkedChange{Interface: "gre1", Mark: mark, Outer: outer}
	l.out.Marked = append(l.out.Marked, change)
	l.setMarked()
	l.out.Reset()
	if names := openNames(l); len(names) != 0 {
		t.Errorf("want no open interface, have %q", names)
	}
	for range 2 {
		l.open(&runner{config: config.Interface{Name: "gre1", Table: 100}})
		i := l.iface("gre1")
		if names := openNames(l); !slices.Equal(names, []string{"gre1"}) ||
			i.marked[mark] != outer || i.config.Table != 100 {
			t.Errorf("want gre1 open with its marked peer, have %q and %v", names, i.marked)
		}
		l.closing("gre1")
		l.closed("gre1")
		if i := l.iface("gre1"); i.marked[mark] != outer || i.config.Table != 0 {
			t.Errorf("closed: want the marked peer alone, have %v, table %d",
				i.marked, i.config.Table)
		}
	}
	change.Delete, change.Outer = true, netip.Addr{}
	l.out.Marked = append(l.out.Marked, change)
	l.setMarked()
	l.closing("gre1")
	l.closed("gre1")
	if len(l.interfaces) != 0 {
		t.Errorf("want nothing kept of a closed interface without marked peers, have %v",
			l.interfaces)
	}
}

// What a stopped runner had queued for the loop changes nothing of the interface that has opened
// anew in the meantime.
func TestAStoppedRunnerChangesNothing(t *testing.T) {
	w := newWorld(t)
	c := testConfig(t, []byte(spokeToml), t.TempDir())
	d := New("", c, w.platform(), io.Discard)
	first, second := d.newRunner(c.Interfaces[0]), d.newRunner(c.Interfaces[0])
	d.loop.open(first)
	d.loop.closing("gre1")
	d.loop.closed("gre1")
	d.loop.open(second)
	d.loop.moved(time.Now(), first.iface, tunnelThere, &channel{}, nil)
	if i := d.loop.iface("gre1"); i.channel != nil || i.state.Local.IsValid() {
		t.Errorf("want no channel and no address, have %v and %v", i.channel, i.state.Local)
	}
	if first.iface.channel != nil {
		t.Error("the closed interface took a channel")
	}
}
