//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// manyClients is how many clients a large hub has.
const manyClients = 10_000

// addClients adds clients to the state that the hub's daemon saved, as clients of the last of its
// interfaces, gre2. Their registrations end in an hour.
func addClients(m *lab.Mesh) {
	m.Helper()
	path := m.Hub.Path(savedState)
	saved, err := os.ReadFile(path)
	if err != nil {
		m.Fatalf("%v", err)
	}
	interfaces := strings.Split(string(saved), `{"Interface":`)
	if last := interfaces[len(interfaces)-1]; !strings.HasPrefix(last, `{"Name":"gre2"`) {
		m.Fatalf("the last interface in the hub's state is not gre2: %s", last)
	}
	text := strings.Builder{}
	text.Write(saved)
	expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for i := 1; i <= manyClients; i++ {
		nbma := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		fmt.Fprintf(&text, `{"Binding":{"Protocol":%q,"NBMA":%q,"ClientNBMA":%[2]q,"Expires":%[3]q}}`,
			client(i), nbma, expires)
		text.WriteByte('\n')
	}
	m.Hub.WriteFile(savedState, 0o600, text.String())
}

// client returns the overlay address of one of the many clients, numbered from 1.
func client(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 254, 1 + byte(i>>8), byte(i)}) }

// complete returns nil when the hub's kernel has all the neighbours.
func complete(m *lab.Mesh) error {
	have := m.Hub.Neighbors("gre2")
	if len(have) < manyClients {
		return fmt.Errorf("the hub has %d of %d neighbours", len(have), manyClients)
	}
	for i := 1; i <= manyClients; i++ {
		if _, there := have[client(i)]; !there {
			return fmt.Errorf("the hub has %d neighbours, and none for %s", len(have), client(i))
		}
	}
	return nil
}

// A hub with 10,000 clients starts: once as after a boot, with a kernel that knows none of them,
// and once as after an upgrade. Each time the kernel has all neighbours and the daemon all bindings
// soon. A client in another overlay of the hub, which has an SA, loses no packet.
func TestLargeHubStarts(t *testing.T) {
	m := lab.NewMesh(t)
	m.Hub.IP("addr add 192.0.2.101/24 dev eth0")
	m.Hub.Interface[1] = `underlay = "192.0.2.1"`
	m.Hub.Further = []string{"[interface.gre2]", `address = "10.254.0.1/16"`,
		`underlay = "192.0.2.101"`, "key = 43", `protection = "none"`}
	m.Hub.Start()
	m.Spoke1.Start()
	registered(m, m.Spoke1, soon)
	flow := m.Spoke1.Host.Flow(m.Hub.Host.Addr, 20*time.Millisecond)
	flow.Back(time.Now(), soon)

	begin := time.Now()
	m.Hub.Daemon.Terminate()
	addClients(m)
	for _, kernel := range []string{"none", "all"} {
		started := time.Now()
		m.Hub.Daemon.Start()
		ready := time.Since(started)
		m.Await("the hub's kernel has all neighbours", later, func() error { return complete(m) })
		t.Logf("a hub with %d clients, its kernel has %s of them: ready after %.1f s, complete "+
			"after %.1f s", manyClients, kernel, ready.Seconds(), time.Since(started).Seconds())
		var bindings []api.Binding
		if err := m.Hub.CygnetJSON(&bindings, "bindings"); err != nil {
			t.Fatal(err)
		}
		if want := manyClients + 1; len(bindings) != want {
			t.Errorf("the daemon has %d bindings, want %d", len(bindings), want)
		}
		m.Hub.Daemon.Terminate()
		if err := complete(m); err != nil {
			t.Errorf("after the stop: %v", err)
		}
	}
	m.Hub.Daemon.Start()
	registered(m, m.Spoke1, soon)
	lossless(m, begin, []*lab.Flow{flow})
	flow.Stop()
	alive(m)
}
