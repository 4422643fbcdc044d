package nhrpd

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/nhrpd/uplink"
	"cygnet/vici"
)

// twoUplinks returns what a host with eth0 and wwan0 has. A hub answers probes over wwan0 only.
func twoUplinks() uplink.System {
	addrs := map[string]netip.Addr{
		"eth0": netip.MustParseAddr("192.0.2.11"), "wwan0": netip.MustParseAddr("198.51.100.11"),
	}
	return uplink.System{
		Addresses: func(device string) (uplink.Addresses, error) {
			return uplink.Addresses{V4: addrs[device]}, nil
		},
		Watch: func(ctx context.Context, _ *slog.Logger, f func()) error {
			<-ctx.Done()
			return nil
		},
		Open: func(device string, local netip.Addr) (uplink.Prober, error) {
			return &prober{device == "wwan0", make(chan netip.Addr, 8), make(chan struct{})}, nil
		},
	}
}

// prober is a socket for probes.
type prober struct {
	answers bool // whether there are answers
	answer  chan netip.Addr
	closed  chan struct{}
}

func (p *prober) Send(to netip.Addr) error {
	if p.answers && to == hubNBMA {
		p.answer <- to
	}
	return nil
}

func (p *prober) Receive() (netip.Addr, error) {
	select {
	case from := <-p.answer:
		return from, nil
	case <-p.closed:
		return netip.Addr{}, net.ErrClosed
	}
}

func (p *prober) Close() error {
	close(p.closed)
	return nil
}

// A tunnel with several underlays sends from the first, has a rule for the address of each, and
// changes to the other one when the hub is lost and answers over that one only. A goodbye takes the
// rules back.
func TestTunnelChangesItsUnderlay(t *testing.T) {
	toml := strings.Replace(spokeToml, `underlay = "eth0"`, `underlay = ["eth0", "wwan0"]
underlay_table = 100`, 1)
	inWorldOf(t, []byte(toml), func(t *testing.T, w *world, d *Daemon) {
		has := func(when string, lines ...string) {
			t.Helper()
			for _, line := range lines {
				if w.noted(line) < 0 {
					t.Errorf("%s: want %q, have\n%s", when, line, strings.Join(w.record, "\n"))
				}
			}
		}
		secureHub(w)
		register(t, w, w.socket(0))
		has("at the start", "send gre1 from eth0",
			"pin gre1 uplink 0 IPv4 rule from 192.0.2.11 for table 100 (priority 100)",
			"pin gre1 uplink 1 IPv4 rule from 198.51.100.11 for table 101 (priority 100)")
		time.Sleep(time.Minute)
		if w.noted("send gre1 from wwan0") >= 0 {
			t.Error("the tunnel changed its underlay although the hub is usable")
		}
		w.events <- vici.Down{
			Key: vici.Key{Interface: "gre1", NBMA: hubNBMA}, Reason: "a test took it down",
		}
		synctest.Wait()
		time.Sleep(10 * time.Second)
		has("the hub is lost", "send gre1 from wwan0")
		if err := d.Leave(t.Context(), "gre1"); err != nil {
			t.Fatal(err)
		}
		has("after the goodbye", "unpin gre1 uplink 0", "unpin gre1 uplink 1")
	})
}
