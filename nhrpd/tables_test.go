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

// recordedTables records what is wanted of the kernel.
type recordedTables struct {
	freeTables
	changes []tables.Change
}

func (r *recordedTables) Want(changes []tables.Change) { r.changes = append(r.changes, changes...) }
