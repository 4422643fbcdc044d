package nhrpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/tables"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/platform"
	"cygnet/vici"

	"github.com/google/go-cmp/cmp"
)

// Each route goes to the table that the engine names, by the rule that leads there.
func TestRoutesHaveTheirTables(t *testing.T) {
	recorded := &recordedTables{}
	l := loop{tables: recorded}
	host, lan := netip.MustParsePrefix("172.16.9.1/32"), netip.MustParsePrefix("172.16.2.0/24")
	l.out.Routes = []engine.RouteChange{
		{Interface: "gre1", Prefix: host, HostTable: true, Table: 84, Metric: 7, Rule: 999},
		{Interface: "gre1", Prefix: lan, Table: 254, Metric: 7},
	}
	l.wantEntries()
	want := []tables.Change{
		{Route: &rtnl.Route{Device: "gre1", Prefix: host, Table: 84, Metric: 7}, Rule: 999},
		{Route: &rtnl.Route{Device: "gre1", Prefix: lan, Table: 254, Metric: 7}},
	}
	if diff := cmp.Diff(want, recorded.changes, cmp.Comparer(func(a, b netip.Prefix) bool {
		return a == b
	}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// The routes of an earlier run are wanted before the interface opens. They have their tables all
// the same: in another table they would be further routes, beside those that the kernel has.
func TestRestoredRoutesHaveTheirTables(t *testing.T) {
	dir := t.TempDir()
	recorded := &recordedTables{}
	p := newWorld(t).platform()
	p.NewTables = func(*slog.Logger, int, func(time.Duration)) platform.Tables { return recorded }
	text := strings.Replace(spokeToml, "key ", "table = 100\nhost_table = 101\n"+
		"host_rule = 99\nkey ", 1)
	d := New(filepath.Join(dir, "cygnet.toml"), testConfig(t, []byte(text), dir), p, io.Discard)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.loop.run(ctx) }()
	shortcut := func(prefix string, p engine.Placement) engine.SavedShortcut {
		to := netip.MustParsePrefix(prefix)
		return engine.SavedShortcut{
			Prefix:    to,
			Dest:      to.Addr(),
			NextHop:   clientOverlay,
			Peer:      peerid.At(clientNBMA),
			Placement: p,
			Expires:   time.Now().Add(time.Minute),
		}
	}
	err := d.begin(ctx, engine.Saved{Interfaces: []engine.SavedInterface{{
		Name:      "gre1",
		Protected: true,
		Shortcuts: []engine.SavedShortcut{
			shortcut("172.16.2.0/24", engine.PlacedHalves),
			shortcut("172.16.9.1/32", engine.PlacedHostTable),
		},
	}}}, nil)
	cancel()
	if err = errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range recorded.changes {
		if c.Route != nil {
			got = append(got, fmt.Sprintf("%s table %d rule %d", c.Route.Prefix, c.Route.Table,
				c.Rule))
		}
	}
	want := []string{
		"172.16.2.0/25 table 100 rule 0",
		"172.16.2.128/25 table 100 rule 0",
		"172.16.9.1/32 table 101 rule 99",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// When strongSwan lists the SAs after a start, entries of the earlier run go whose peer has none,
// in charon or in the kernel. It may not be known what the kernel has: then all stay. The addresses
// that stand for other peers stay, and so does everything once the daemon has settled.
func TestEntriesWithoutSAGo(t *testing.T) {
	listed, inKernel := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	nat := netip.MustParseAddr("192.0.2.4")
	list := vici.Snapshot{
		Interface: "gre1",
		Peers: []vici.Peer{
			{Interface: "gre1", NBMA: listed},
			{Interface: "gre1", NBMA: nat, Mark: 1},
		},
		InKernel: map[netip.Addr]bool{inKernel: true},
	}
	unknown := list
	unknown.InKernel = nil
	for _, tt := range []struct {
		what    string
		list    vici.Snapshot
		settled bool
		asked   bool
	}{
		{"a list", list, false, true},
		{"nobody could read the kernel", unknown, false, false},
		{"the daemon has settled", list, true, false},
	} {
		recorded := &recordedTables{}
		p := newWorld(t).platform()
		p.NewTables = func(*slog.Logger, int, func(time.Duration)) platform.Tables {
			return recorded
		}
		l := New("", testConfig(t, []byte(spokeToml), t.TempDir()), p, io.Discard).loop
		l.settled = tt.settled
		l.securePeers(time.Now(), tt.list)
		if asked := recorded.secured != nil; asked != tt.asked {
			t.Errorf("%s: the tables were asked: %v, want %v", tt.what, asked, tt.asked)
		}
		if recorded.secured == nil {
			continue
		}
		for nbma, want := range map[string]bool{
			listed.String(): true, inKernel.String(): true, nat.String(): false,
			"192.0.2.9": false, "0.0.0.1": true, "0.254.0.1": true,
		} {
			if got := recorded.secured(netip.MustParseAddr(nbma)); got != want {
				t.Errorf("%s: %s has an SA: %v, want %v", tt.what, nbma, got, want)
			}
		}
	}
}

// recordedTables records what is wanted of the kernel.
type recordedTables struct {
	freeTables
	changes []tables.Change
	secured func(netip.Addr) bool // nil: RemoveUnsecured was not called
}

func (r *recordedTables) RemoveUnsecured(_ string, secured func(netip.Addr) bool) {
	r.secured = secured
}

func (r *recordedTables) Want(changes []tables.Change) { r.changes = append(r.changes, changes...) }
