package nhrpd

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/packet"
	"cygnet/vici"
)

// The addresses and the tunnel of these tests.
var (
	hubNBMA     = netip.MustParseAddr("192.0.2.1")
	hubOverlay  = netip.MustParseAddr("10.255.0.1")
	spokeNBMA   = netip.MustParseAddr("192.0.2.11")
	hubKey      = vici.Key{Interface: "gre1", NBMA: hubNBMA}
	tunnelThere = tunnel.State{Index: 7, Local: spokeNBMA, Created: true, Up: true}
)

// inWorld runs a daemon in virtual time on a world. It ends the daemon before the test ends.
func inWorld(t *testing.T, f func(t *testing.T, w *world, d *Daemon)) {
	t.Helper()
	inWorldOf(t, []byte(spokeToml), f)
}

// inWorldOf is inWorld with a configuration of the test's own.
func inWorldOf(t *testing.T, toml []byte, f func(t *testing.T, w *world, d *Daemon)) {
	t.Helper()
	inWorldLogging(t, io.Discard, toml, f)
}

// inWorldLogging is inWorldOf with a daemon that logs to log.
func inWorldLogging(
	t *testing.T, log io.Writer, toml []byte, f func(t *testing.T, w *world, d *Daemon),
) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := testConfig(t, toml, dir)
		path := filepath.Join(dir, "cygnet.toml")
		d := New(path, c, w.platform(), log)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		synctest.Wait()
		f(t, w, d)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the daemon ended with %v", err)
		}
	})
}

// secureHub brings the tunnel up, and has strongSwan report the SA with the hub.
func secureHub(w *world) {
	w.tunnels["gre1"].states <- tunnelThere
	synctest.Wait()
	w.mu.Lock()
	w.sas = []vici.SA{{Interface: "gre1", RemoteHost: hubNBMA, State: "ESTABLISHED"}}
	w.mu.Unlock()
	w.events <- vici.Up{Peer: vici.Peer{
		Interface: "gre1",
		NBMA:      hubNBMA,
		Identity:  "hub.example.net",
		Initiator: true,
	}}
	synctest.Wait()
}

// Two protected tunnels may turn out to send from one address. Nothing would tell their SAs apart,
// so the status of the later one shows an error.
func TestTwoProtectedTunnelsOnOneAddress(t *testing.T) {
	second := strings.NewReplacer(
		"gre1]", "gre2]",
		"gre1.ipsec", "gre2.ipsec",
		"10.255.0.11", "10.254.0.11",
		`"eth0"`, `"192.0.2.11"`,
		"42", "43",
	).Replace(spokeToml)
	inWorldOf(t, []byte(spokeToml+second), func(t *testing.T, w *world, d *Daemon) {
		for i, local := range []string{"192.0.2.11", "192.0.2.12", "192.0.2.11"} {
			st := tunnelThere
			st.Local = netip.MustParseAddr(local)
			w.tunnels[[]string{"gre1", "gre2", "gre2"}[i]].states <- st
			synctest.Wait()
			s, err := d.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if told := strings.HasPrefix(
				s.Interfaces[1].Error, "gre1 sends from 192.0.2.11 as well",
			); told != (i == 2) {
				t.Errorf("step %d: %q", i+1, s.Interfaces[1].Error)
			}
		}
	})
}

// registrationIn returns the registration request among sent packets.
func registrationIn(t *testing.T, sent []nhrpsocket.Message) packet.Packet {
	t.Helper()
	var p packet.Packet
	for _, m := range sent {
		if err := p.Parse(m.Data); err != nil {
			t.Fatalf("the daemon sent a packet that does not parse: %v", err)
		}
		if p.Type == packet.RegistrationRequest && m.NBMA == hubNBMA {
			return p
		}
	}
	t.Fatal("no registration request was sent to the hub")
	return p
}

// register answers the daemon's registration as a hub does.
func register(t *testing.T, w *world, s *fakeSocket) {
	t.Helper()
	p := registrationIn(t, s.packets())
	p.Type = packet.RegistrationReply
	p.DestProtocol = hubOverlay
	p.CIEs[0].Code = packet.CodeSuccess
	data, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.in <- nhrpsocket.Message{NBMA: hubNBMA, Data: data}
	synctest.Wait()
	if w.noted("add neighbour 10.255.0.1") < 0 {
		t.Fatalf("the hub's reply led to no neighbour; asked so far: %q", w.record)
	}
}

func TestSpokeRegistersOnceItsHubIsSecured(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		w.tunnels["gre1"].states <- tunnelThere
		synctest.Wait()
		if got := w.wanted(hubKey); got != vici.InitiateFirst {
			t.Errorf("the hub's SA is wanted as %v, not to be initiated", got)
		}
		if n := len(w.socket(0).packets()); n != 0 {
			t.Errorf("%d packets left before there was an SA", n)
		}
		secureHub(w)
		register(t, w, w.socket(0))
	})
}

// The daemon talks to charon only if an interface is protected. A lab without IPsec has no charon,
// and a site may add IPsec later.
func TestStrongswanIsAskedForOnlyWhereAnInterfaceIsProtected(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		if w.noted("run strongSwan") < 0 {
			t.Error("nothing talks to charon though gre1 is protected")
		}
	})
	clear := []byte("[interface.gre1]\naddress = \"10.255.0.11/24\"\nunderlay = \"eth0\"\nprotection = \"none\"\n")
	inWorldOf(t, clear, func(t *testing.T, w *world, d *Daemon) {
		if w.noted("run strongSwan") >= 0 {
			t.Error("charon is looked for though nothing is protected")
		}
	})
}

func TestNewDeviceGetsANewSocket(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		moved := tunnelThere
		moved.Index = 8
		w.tunnels["gre1"].states <- moved
		synctest.Wait()
		select {
		case <-w.socket(0).closed:
		default:
			t.Error("the socket to the device that is gone is still open")
		}
		if got := w.socket(1).index; got != 8 {
			t.Errorf("the new socket is on interface %d, not 8", got)
		}
	})
}

func TestTunnelThatCannotBeHadIsToldAndTriedAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		w.tunnels["gre1"].faults <- errors.New("gre1 is a bridge")
		synctest.Wait()
		st, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := st.Interfaces[0].Error; got != "gre1 is a bridge" {
			t.Errorf("status gives %q as the reason", got)
		}
		secureHub(w) // its state is taken only if Run was called again
		if st, err = d.Status(t.Context()); err != nil || st.Interfaces[0].Error != "" {
			t.Errorf("after the tunnel is there, status still says %q, %v",
				st.Interfaces[0].Error, err)
		}
	})
}

func TestTunnelWithoutNHRPIsToldAndTriedAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		w.mu.Lock()
		w.noSocket = errors.New("no CAP_NET_RAW")
		w.mu.Unlock()
		w.tunnels["gre1"].states <- tunnelThere
		synctest.Wait()
		st, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := st.Interfaces[0].Error; !strings.Contains(got, "no CAP_NET_RAW") {
			t.Errorf("status gives %q as the reason", got)
		}
		w.mu.Lock()
		w.noSocket = nil
		w.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if st, err = d.Status(t.Context()); err != nil || st.Interfaces[0].Error != "" {
			t.Errorf("once there is a socket, status still says %q, %v",
				st.Interfaces[0].Error, err)
		}
	})
}

func TestLeaveTakesThingsDownInOrder(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		register(t, w, w.socket(0))
		if err := d.Leave(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		order := []string{
			"delete neighbour 10.255.0.1",
			"close 192.0.2.1",
			"remove profile gre1",
			"detach gre1",
			"remove gre1",
		}
		last := -1
		for _, step := range order {
			at := w.noted(step)
			if at <= last {
				t.Errorf("%q came at %d, after what should follow it at %d; all of it: %q",
					step, at, last, w.record)
			}
			last = at
		}
		var p packet.Packet
		sent := w.socket(0).packets()
		if err := p.Parse(sent[len(sent)-1].Data); err != nil || p.Type != packet.PurgeRequest {
			t.Errorf("the last packet is a %v (%v), not the purge of the registration",
				p.Type, err)
		}
		if err := d.Leave(t.Context(), "gre1"); !errors.Is(err, api.ErrRefused) ||
			!strings.Contains(err.Error(), "gre1: it has left already") {
			t.Errorf("leaving twice gives %v", err)
		}
		if err := d.Leave(t.Context(), "gre9"); !errors.Is(err, api.ErrNoInterface) {
			t.Errorf("leaving what is not configured gives %v", err)
		}
		if err := d.Leave(t.Context(), ""); err != nil {
			t.Errorf("leaving all that is left, which is nothing, gives %v", err)
		}
	})
}

// A drain is that of the interface, and status shows it until it ends.
func TestDrain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		draining := func() bool {
			st, err := d.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return st.Interfaces[0].Draining
		}
		for _, off := range []bool{false, true} {
			if err := d.Drain(t.Context(), "gre1", off); err != nil || draining() == off {
				t.Errorf("off %v: %v, status shows draining %v", off, err, draining())
			}
		}
		if err := d.Drain(t.Context(), "", false); err != nil || !draining() {
			t.Errorf("all interfaces: %v", err)
		}
		if err := d.Drain(t.Context(), "gre9", false); !errors.Is(err, api.ErrNoInterface) {
			t.Errorf("draining what is not configured gives %v", err)
		}
	})
}

func TestReloadOfAFaultyFileChangesNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		if err := os.WriteFile(
			d.path, []byte("[interface.gre1]\nadress = 1\n"), 0o600,
		); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Reload(t.Context(), false); err == nil || !strings.Contains(err.Error(), "adress") {
			t.Errorf("the fault in the file is told as %v", err)
		}
		if w.noted("remove gre1") >= 0 {
			t.Error("the interface was removed")
		}
		if st, err := d.Status(t.Context()); err != nil || len(st.Interfaces) != 1 {
			t.Errorf("status has %d interfaces, %v", len(st.Interfaces), err)
		}
	})
}

func TestReloadLeavesWhatIsGoneFromTheFile(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		register(t, w, w.socket(0))
		if err := os.WriteFile(d.path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Reload(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if w.noted("remove gre1") < 0 {
			t.Errorf("the tunnel stayed; asked: %q", w.record)
		}
	})
}

// A reload that takes IPsec away from an interface leaves nothing of it: the daemon closes the SAs
// and removes the connections before it opens the tunnel without a guard.
func TestReloadWithoutProtectionEndsIPsec(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		register(t, w, w.socket(0))
		protected := w.tunnels["gre1"]
		toml, _, _ := strings.Cut(spokeToml, "[interface.gre1.ipsec]")
		if err := os.WriteFile(
			d.path, []byte(toml+"protection = \"none\"\n"), 0o600,
		); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Reload(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if closed, removed :=
			w.noted("close 192.0.2.1"), w.noted("remove profile gre1"); closed < 0 ||
			removed < closed {
			t.Errorf("the SA was closed at %d and the profile removed at %d; asked: %q",
				closed, removed, w.record)
		}
		if now := w.tunnels["gre1"]; now == protected || now.config.Protected {
			t.Errorf("the tunnel is kept as before: %+v", now.config)
		}
		if w.noted("remove gre1") >= 0 {
			t.Error("the tunnel was removed")
		}
	})
}

// A peer that dials again as soon as it loses its SA does not hold up a goodbye: the connections go
// before the daemon waits for the end of the SAs.
func TestLeaveIsNotHeldUpByAPeerThatDialsAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		register(t, w, w.socket(0))
		w.mu.Lock()
		w.redials = true
		w.mu.Unlock()
		begun := time.Now()
		if err := d.Leave(t.Context(), "gre1"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took >= closeTime {
			t.Errorf("the goodbye took %s, want less than the %s for SAs that do not end",
				took, closeTime)
		}
		if left := d.strongswan.SAs(); len(left) > 0 {
			t.Errorf("SAs are left: %v", left)
		}
	})
}

func TestStopChangesNothing(t *testing.T) {
	var w *world
	inWorld(t, func(t *testing.T, in *world, d *Daemon) {
		w = in
		secureHub(w)
		register(t, w, w.socket(0))
	})
	for _, line := range w.record {
		if strings.HasPrefix(line, "delete") ||
			strings.HasPrefix(line, "close") ||
			strings.HasPrefix(line, "remove") {
			t.Errorf("the stop did %q", line)
		}
	}
	if n := len(w.socket(0).packets()); n != 1 {
		t.Errorf("%d packets were sent, not the registration alone", n)
	}
}

func TestEntriesOfAnEarlierRunStayUntilPeersHadTime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		time.Sleep(settleTime - time.Nanosecond)
		synctest.Wait()
		if w.noted("settle") >= 0 {
			t.Error("the kernel's tables were settled early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if w.noted("settle") < 0 {
			t.Error("the kernel's tables were never settled")
		}
	})
}

func TestStatusShowsWhatTheKernelDropped(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		st, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := st.Counters.Dropped["receive buffer full"]; got != 7 {
			t.Errorf("status counts %d packets lost to a full buffer, the socket 7", got)
		}
	})
}

// A flood of sampled redirects does not block their reader, and the daemon counts those that it
// loses.
func TestOffersBeyondTheQueueAreCounted(t *testing.T) {
	l := newLoop(nil, nil, nil, nil)
	for range eventQueue + 3 {
		l.offer(engine.Redirected{})
	}
	if got := l.offersDropped.Load(); got != 3 {
		t.Errorf("counted %d lost events, not 3", got)
	}
}
