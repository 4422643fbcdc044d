package nhrpd

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
)

// vrfToml is a router in a VRF, with a route to another router from the start.
const vrfToml = `
[interface.gre1]
vrf        = "blue"
address    = "10.255.0.1/32"
overlay    = "10.255.0.0/24"
underlay   = "eth0"
protection = "none"
map        = [{ protocol = "10.255.0.9", nbma = "192.0.2.9" }]
`

// noticed fails the test unless the daemon has done something, after what it did before.
func (w *world) noticed(t *testing.T, after int, what string) int {
	t.Helper()
	synctest.Wait()
	at := w.noted(what)
	if at < after {
		t.Fatalf("%q is not behind number %d of what the daemon did: %q", what, after, w.record)
	}
	return at
}

// A daemon that starts before the VRF of its tunnel waits for it: no route goes to another table.
// When the VRF is there, the daemon follows its table and keeps its routes there; and in another
// table when the VRF comes back with another one.
func TestTableOfTheVRFIsFollowed(t *testing.T) {
	inWorldOf(t, []byte(vrfToml), func(t *testing.T, w *world, d *Daemon) {
		at := w.noticed(t, 0, "watch the tables []")
		missing := tunnelThere
		missing.Index, missing.Up, missing.Fault = 0, false, "there is no such VRF"
		w.tunnel("gre1").states <- missing
		for _, table := range []struct {
			number           uint32
			watch, add, gone string
		}{
			{10, "watch the tables [10]", "add route 10.255.0.9/32 in table 10", ""},
			{11, "watch the tables [11]", "add route 10.255.0.9/32 in table 11",
				"delete route 10.255.0.9/32 in table 10"},
		} {
			if w.noted(table.add) >= 0 {
				t.Fatalf("the VRF has no such table yet, and the daemon did %q", w.record)
			}
			up := tunnelThere
			up.Master, up.MasterTable = "blue", table.number
			w.tunnel("gre1").states <- up
			if table.gone != "" {
				at = w.noticed(t, at, table.gone)
			}
			at = w.noticed(t, at, table.add)
			w.noticed(t, at, table.watch)
			w.tunnel("gre1").states <- up
			synctest.Wait()
			st, err := d.Status(t.Context())
			if err != nil || len(st.Routes) != 1 || st.Routes[0].Table != table.number ||
				st.Interfaces[0].VRF != "blue" {
				t.Errorf("the status has %+v, %v", st, err)
			}
		}
	})
}

// A daemon that starts in a VRF knows its table from the first moment. A reload while the VRF is
// gone keeps the table.
func TestTableOfTheVRFIsKnownAtTheStart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.vrfs = map[string]uint32{"blue": 10}
		d := New(dir+"/cygnet.toml", testConfig(t, []byte(vrfToml), dir), w.platform(), t.Output())
		done := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- d.Run(ctx) }()
		w.noticed(t, 0, "add route 10.255.0.9/32 in table 10")
		w.noticed(t, 0, "watch the tables [10]")
		w.mu.Lock()
		w.vrfs = nil
		w.mu.Unlock()
		changed := []byte(vrfToml + "mtu = 1300\n")
		if err := os.WriteFile(dir+"/cygnet.toml", changed, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Reload(ctx, false); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if w.noted("delete route 10.255.0.9/32 in table 10") >= 0 {
			t.Errorf("the daemon did %q", w.record)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
