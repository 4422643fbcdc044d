//go:build lab

package scenario

import (
	"os"
	"testing"
	"time"

	"cygnet/test/lab"
)

// checkedWithin is what doc/routing.md promises for a hub that forgot a spoke, with room for a busy
// machine: traffic shows it after at most four seconds.
const checkedWithin = 10 * time.Second

// A hub loses its daemon and what the daemon had saved, while its charon goes on and the SAs stay.
// It drops the spoke's data from then on. The traffic has the spoke register at once, in the place
// of three minutes later.
func TestHubForgetsASpoke(t *testing.T) {
	m := lab.NewMesh(t)
	hubForgets(m)
	encrypted(m)
}

// The same without IPsec.
func TestHubForgetsASpokeWithoutIPsec(t *testing.T) {
	m := lab.NewMesh(t)
	m.Unprotect()
	hubForgets(m)
}

// hubForgets starts a mesh, has the hub forget its spokes, and awaits that traffic brings back the
// one that has some. The other one, which has none, does not register early.
func hubForgets(m *lab.Mesh) {
	m.Helper()
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	flow := m.Spoke1.Host.Flow(m.Hub.Host.Addr, beat)
	flow.Back(time.Now(), soon)
	// The daemon saves a moment after it has registered the spokes.
	state := m.Hub.Path(savedState)
	m.Await("the hub has saved its state", soon, func() error {
		_, err := os.Stat(state)
		return err
	})
	killed := time.Now()
	m.Hub.Daemon.Kill()
	if err := os.Remove(state); err != nil {
		m.Fatalf("remove what the hub has saved: %v", err)
	}
	m.Hub.IP("link del gre1") // else the kernel's neighbours tell the daemon who was admitted
	m.Hub.Daemon.Start()
	m.Hub.SetRoutes()
	started := time.Now()
	back := flow.Back(started, soon).Sub(started)
	m.Logf("the hub takes data again %s after its daemon was killed, and %s after it is back",
		started.Add(back).Sub(killed).Round(time.Millisecond), back.Round(time.Millisecond))
	if back > checkedWithin {
		m.Errorf("the hub takes data again after %s, want within %s", back, checkedWithin)
	}
	for s, want := range map[*lab.Site]bool{m.Spoke1: true, m.Spoke2: false} {
		n, err := nhs(s)
		if err != nil {
			m.Fatalf("status of %s: %v", s.Name, err)
		}
		if (n.Checks > 0) != want {
			m.Errorf("%s has registered early %d times, want that %t", s.Name, n.Checks, want)
		}
	}
	alive(m)
}

// Without IPsec, the hub in use dies. The traffic to the LAN behind both hubs shows that, and the
// spoke registers with the next hub of the cluster well before the next refresh would have had no
// answer: that is due 20 s after the last one.
func TestHubDiesWithoutIPsec(t *testing.T) {
	m := newReserveMesh(t)
	m.unprotect()
	m.startWithBGP()
	flow := m.Spoke1.Host.Flow(m.Hub.Host.Addr, beat)
	before := lastRegistration(m)
	m.Await("a refresh", soon, func() error {
		return lab.True(lastRegistration(m).After(before), "the last one was at %s", before)
	})
	flow.Back(time.Now(), soon)
	died := time.Now()
	m.Hub.Die()
	moved := flow.Back(time.Now(), later).Sub(died)
	m.Logf("the traffic moved after %s", moved.Round(time.Millisecond))
	st, err := status(m.Spoke1)
	if err != nil {
		t.Fatal(err)
	}
	if n := st.Interfaces[0].NHS[0]; n.Checks == 0 {
		t.Errorf("no registration was sent early: %+v", n)
	}
	if moved > deadWithin {
		t.Errorf("the traffic moved after %s, want within %s", moved, deadWithin)
	}
}

// lastRegistration returns when the hub last accepted the spoke's registration.
func lastRegistration(m *reserveMesh) time.Time {
	m.Helper()
	st, err := status(m.Spoke1)
	if err != nil {
		m.Fatalf("status of the spoke: %v", err)
	}
	return st.Interfaces[0].NHS[0].Registered
}
