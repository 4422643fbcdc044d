//go:build lab

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/sysctl"
	"cygnet/kernel/tables"
)

func key(k uint32) *uint32 { return &k }

var labTunnel = Config{
	Name:      "gre1",
	Addresses: []netip.Prefix{netip.MustParsePrefix("10.255.0.1/24")},
	Underlay:  "under0",
	Key:       key(42),
	TTL:       64,
	MTU:       1400,
	Protected: true,
}

// runTunnel runs a tunnel for the rest of the test, and returns it with a channel of its states.
func runTunnel(t *testing.T, cfg Config) (*Tunnel, <-chan State) {
	t.Helper()
	tunnel := New(cfg, kerneltest.Log(t))
	ctx, cancel := context.WithCancel(t.Context())
	states, done := make(chan State, 64), make(chan error, 1)
	go func() { done <- tunnel.Run(ctx, func(s State) { states <- s }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return tunnel, states
}

// Run makes a tunnel as configured, with everything that it needs to work, and undoes what others
// do to it.
func TestTunnelHeals(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	_, states := runTunnel(t, labTunnel)
	if s := <-states; !s.Created || s.Adopted || !s.Up ||
		s.Local != netip.MustParseAddr("198.51.100.1") || s.Index == 0 {
		t.Fatalf("first state %+v", s)
	}
	asConfigured := func() {
		t.Helper()
		kerneltest.Shows(t, "-d link show gre1", "mtu 1400", "-NOARP", "<UP", "local 198.51.100.1",
			"remote any", "ttl 64", "ikey 0.0.0.42", "okey 0.0.0.42", "alias cygnet")
		kerneltest.Shows(t, "addr show gre1", "inet 10.255.0.1/24")
		kerneltest.Shows(t, "xfrm policy", "src 198.51.100.1/32 dst 0.0.0.0/0 proto gre", "src 0.0.0.0/0 dst 198.51.100.1/32 proto gre", "action block")
	}
	asConfigured()
	if v, err := sysctl.Read("net/ipv4/conf/gre1/send_redirects"); v != "0" || err != nil {
		t.Errorf("send_redirects is %q, %v", v, err)
	}
	for _, harm := range []string{
		"link set gre1 down",
		"link set gre1 arp off",
		"link set gre1 mtu 1300",
		"addr del 10.255.0.1/24 dev gre1",
		"addr add 10.254.0.1/24 dev gre1",
		"link set gre1 type gre key 7",
		"link set gre1 type gre ttl 3",
		"link del gre1",
		"xfrm policy flush",
		"xfrm policy delete dir out src 198.51.100.1/32 dst 0.0.0.0/0 proto gre",
	} {
		t.Log("harm: ip", harm)
		kerneltest.IP(t, harm)
		asConfigured()
		kerneltest.Shows(t, "addr show gre1", "-10.254.0.1")
	}
}

// If an interface that cannot become the tunnel has the tunnel's name, only the user can remedy
// that. Run returns an error that says what the interface is.
func TestTunnelNameTaken(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	for _, c := range []struct{ add, name, says string }{
		{"link add taken0 type dummy", "taken0", "an interface of type dummy"},
		{"link add taken1 type gre local 198.51.100.1 remote 198.51.100.9", "taken1", "a GRE tunnel to the single peer 198.51.100.9"},
		{"link add taken2 type gre external", "taken2", "external mode"},
		{"link set lo up", "lo", "a hardware interface"},
		{"link set lo up", "gre0", "fallback device"},
	} {
		kerneltest.IP(t, c.add)
		cfg := labTunnel
		cfg.Name = c.name
		err := New(cfg, kerneltest.Log(t)).Run(t.Context(), func(s State) {
			t.Errorf("%s: changed to %+v", c.name, s)
		})
		if !errors.Is(err, rtnl.ErrNameTaken) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v and %q", c.name, err, rtnl.ErrNameTaken, c.says)
		}
	}
}

// Run adopts an existing tunnel. If the parameters differ, it changes them in place, so that the
// index stays. Remove removes only a tunnel with the daemon's alias.
func TestTunnelAdopts(t *testing.T) {
	for _, c := range []struct {
		name string
		make []string
		key  *uint32
		ours bool
	}{
		{
			"as configured", []string{"link add gre1 type gre local 198.51.100.1 key 42 ttl 64"},
			key(42), false,
		},
		{
			"up, with another key",
			[]string{"link add gre1 type gre local 198.51.100.1 key 7 ttl 64", "link set gre1 up"},
			key(42), false,
		},
		{"with two keys", []string{"link add gre1 type gre local 198.51.100.1 ikey 42 okey 43 ttl 64"}, key(42), false},
		{
			"keyed, to be keyless",
			[]string{"link add gre1 type gre local 198.51.100.1 key 7 ttl 64"}, nil, false,
		},
		{
			"keyless, to be keyed", []string{"link add gre1 type gre local 198.51.100.1 ttl 64"},
			key(42), false,
		},
		{
			"keyless, to have key 0", []string{"link add gre1 type gre local 198.51.100.1 ttl 64"},
			key(0), false,
		},
		{
			"at another address", []string{"link add gre1 type gre local 198.51.100.99 key 42"},
			key(42), false,
		},
		{"at no address", []string{"link add gre1 type gre key 42"}, key(42), false},
		{"ours", []string{"link add gre1 type gre local 198.51.100.1 key 42", "link set gre1 alias cygnet up"}, key(42), true},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			if !kerneltest.OwnNamespace(t) {
				return
			}
			kerneltest.Underlay(t)
			for _, args := range c.make {
				kerneltest.IP(t, args)
			}
			before := kerneltest.LinkNamed(t, "gre1")
			cfg := labTunnel
			cfg.Key = c.key
			tunnel := New(cfg, kerneltest.Log(t))
			ctx, cancel := context.WithCancel(t.Context())
			err := tunnel.Run(ctx, func(s State) {
				if !s.Adopted || s.Created != c.ours || s.Index != before.Index {
					t.Errorf("state %+v, want it adopted with index %d", s, before.Index)
				}
				cancel()
			})
			if err != nil {
				t.Fatal(err)
			}
			want := rtnl.GREParams{
				Local:   netip.MustParseAddr("198.51.100.1"),
				TTL:     64,
				Keyed:   c.key != nil,
				OuterDF: rtnl.OuterDFAlways,
			}
			if c.ours {
				want.OuterDF = rtnl.OuterDFNever
			}
			if want.Keyed {
				want.Key = *c.key
			}
			if l := kerneltest.LinkNamed(t, "gre1"); !l.Matches(want) || !l.Up || l.NoARP {
				t.Errorf("link %+v, want %+v", l, want)
			}

			if err := tunnel.Remove(); err != nil {
				t.Fatal(err)
			}
			if l := kerneltest.LinkNamed(t, "gre1"); (l == nil) != c.ours {
				t.Errorf("after Remove the link is %+v", l)
			}
			if guarded := strings.Contains(
				kerneltest.IP(t, "xfrm policy"), "198.51.100.1/32",
			); guarded == c.ours {
				t.Errorf("guarded after Remove: %v; the guard stays exactly as long as a tunnel uses the address", guarded)
			}
		})
	}
}

// When the parameters of an adopted tunnel are changed, it keeps those that the configuration does
// not mention.
func TestTunnelKeepsTheRest(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	kerneltest.IP(t, "link add gre1 type gre local 198.51.100.99 key 7 ttl 64 tos 0x10 dev under0")
	kerneltest.IP(t, "addr add 10.1.1.1/32 dev gre1")
	_, states := runTunnel(t, labTunnel)
	<-states
	kerneltest.Shows(t, "-d link show gre1", "gre1@under0", "local 198.51.100.1 dev under0 ttl 64 tos 0x10 ikey 0.0.0.42", "-alias")
	kerneltest.Shows(t, "addr show gre1", "10.255.0.1/24", "10.1.1.1/32")
	kerneltest.Shows(t, "-d link show gre1", "-nopmtudisc", "-ignore-df")
}

// If a tunnel is bound to a device, and the device is deleted and made again, as with PPPoE and
// LTE, the tunnel is bound to the new device. It keeps its MTU and its neighbours.
func TestTunnelFollowsItsDevice(t *testing.T) {
	for name, cfg := range map[string]Config{
		"the underlay": labTunnel,
		"a fixed address": func() Config {
			cfg := labTunnel
			cfg.Underlay, cfg.Local = "", netip.MustParseAddr("198.51.100.1")
			return cfg
		}(),
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			if !kerneltest.OwnNamespace(t) {
				return
			}
			kerneltest.Underlay(t)
			kerneltest.IP(t, "link add gre1 type gre local any dev under0 key 42 ttl 64")
			cfg.Protected = false // so that packets leave without an SA
			_, states := runTunnel(t, cfg)
			<-states
			kerneltest.Shows(t, "-d link show gre1", "gre1@under0", "dev under0", "local 198.51.100.1")
			kerneltest.IP(t, "neigh add 10.255.0.2 lladdr 198.51.100.2 dev gre1 nud permanent")
			kerneltest.IP(t, "link del under0")
			kerneltest.Shows(t, "-d link show gre1", "-gre1@under0")
			kerneltest.Underlay(t)
			kerneltest.Shows(t, "-d link show gre1",
				"gre1@under0", "dev under0", "mtu 1400", "<UP", "local 198.51.100.1", "ttl 64")
			kerneltest.Shows(t, "neigh show dev gre1", "10.255.0.2 lladdr 198.51.100.2 PERMANENT")
			sent := kerneltest.TXPackets(t)
			kerneltest.IP(t, "neigh replace 198.51.100.2 lladdr 02:00:00:00:00:02 dev under0 nud permanent")
			ping := exec.Command("ping", "-c", "1", "-W", "1", "10.255.0.2")
			_ = ping.Run() // it fails, since nobody answers
			kerneltest.Eventually(t, "a packet is sent by the new device", func() bool {
				return kerneltest.TXPackets(t) > sent
			})
		})
	}
}

// A tunnel of the daemon's fragments packets that are too large for the path, whatever their DF bit
// says. A tunnel that an earlier version made is changed in place. A tunnel that the site made
// stays as it is. The configuration decides for all of them.
func TestTunnelFragments(t *testing.T) {
	const site = "link add gre1 type gre local 198.51.100.1 key 42 ttl 64"
	for name, c := range map[string]struct {
		make             []string
		configured, want rtnl.OuterDF
	}{
		"new":           {nil, "", rtnl.OuterDFNever},
		"of before":     {[]string{site, "link set gre1 alias cygnet"}, "", rtnl.OuterDFNever},
		"the site's":    {[]string{site}, "", rtnl.OuterDFAlways},
		"its choice":    {[]string{site + " nopmtudisc ignore-df"}, "", rtnl.OuterDFNever},
		"its other":     {[]string{site + " nopmtudisc"}, "", rtnl.OuterDFCopy},
		"as configured": {[]string{site}, rtnl.OuterDFNever, rtnl.OuterDFNever},
		"copy":          {[]string{site}, rtnl.OuterDFCopy, rtnl.OuterDFCopy},
		"always": {
			[]string{site + " nopmtudisc ignore-df"}, rtnl.OuterDFAlways, rtnl.OuterDFAlways,
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			if !kerneltest.OwnNamespace(t) {
				return
			}
			kerneltest.Underlay(t)
			for _, args := range c.make {
				kerneltest.IP(t, args)
			}
			before := kerneltest.LinkNamed(t, "gre1")
			cfg := labTunnel
			cfg.OuterDF = c.configured
			_, states := runTunnel(t, cfg)
			st := <-states
			l := kerneltest.LinkNamed(t, "gre1")
			if l.GRE.OuterDF != c.want || st.OuterDF != c.want || l.MTU != 1400 {
				t.Errorf("outer DF: %s, reported as %s, want %s; MTU %d, want 1400",
					l.GRE.OuterDF, st.OuterDF, c.want, l.MTU)
			}
			if before != nil && before.Index != l.Index {
				t.Errorf("the tunnel has index %d, it was %d: it was made again",
					l.Index, before.Index)
			}
		})
	}
}

// The tunnel follows the address of its underlay. The new address is guarded before the tunnel
// moves, and the old one is released afterwards. While the underlay has no address, the state says
// so, and the tunnel stays guarded. Neighbours and routes stay through the move.
func TestTunnelFollowsUnderlay(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	_, states := runTunnel(t, labTunnel)
	first := <-states
	wanted := tables.New(kerneltest.Log(t), 0)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- wanted.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	allSet := func() {
		t.Helper()
		set := make(chan struct{})
		wanted.After(func() { close(set) })
		<-set
	}
	neighbor := netip.MustParseAddr("10.255.0.2")
	wanted.Want([]tables.Change{
		{Neighbor: &rtnl.Neighbor{Device: "gre1", Protocol: neighbor, NBMA: netip.MustParseAddr("203.0.113.2")}},
		{
			Route: &rtnl.Route{
				Device:  "gre1",
				Prefix:  netip.MustParsePrefix("172.16.2.0/24"),
				NextHop: neighbor,
			},
		},
	})
	allSet()
	restored := wanted.Stats().Restored

	// A further address is no reason to move.
	kerneltest.IP(t, "addr add 198.51.100.2/24 dev under0")
	kerneltest.IP(t, "addr del 198.51.100.1/24 dev under0") // removes the secondary address, too
	if s := <-states; s.Local.IsValid() || s.Index != first.Index {
		t.Fatalf("without an address: %+v", s)
	}
	kerneltest.Shows(t, "xfrm policy", "src 198.51.100.1/32 dst 0.0.0.0/0 proto gre")
	kerneltest.IP(t, "addr add 203.0.113.77/24 dev under0")
	if s := <-states; s.Local != netip.MustParseAddr("203.0.113.77") || s.Index != first.Index {
		t.Fatalf("with a new address: %+v", s)
	}
	kerneltest.Shows(t, "-d link show gre1", "local 203.0.113.77", "<UP", "-NOARP")
	kerneltest.Shows(t, "xfrm policy", "src 203.0.113.77/32 dst 0.0.0.0/0 proto gre", "-198.51.100.1")
	kerneltest.Shows(t, "neigh show dev gre1", "10.255.0.2 lladdr 203.0.113.2 PERMANENT")
	kerneltest.Shows(t, "route", "172.16.2.0/24 via 10.255.0.2 dev gre1")
	wanted.Resync()
	allSet()
	if n := wanted.Stats().Restored - restored; n != 0 {
		t.Errorf("the move cost %d entries", n)
	}
}

// SendFrom moves the tunnel to another underlay device, in place. It keeps the neighbours.
func TestTunnelSendsFromAnotherUnderlay(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	kerneltest.IP(t, "link add under1 type dummy")
	kerneltest.IP(t, "addr add 203.0.113.1/24 dev under1")
	kerneltest.IP(t, "link set under1 up")
	tunnel, states := runTunnel(t, labTunnel)
	first := withAddress(states)
	kerneltest.IP(t, "neigh add 10.255.0.2 lladdr 203.0.113.2 dev gre1 nud permanent")
	tunnel.SendFrom("under1")
	if s := <-states; s.Local != netip.MustParseAddr("203.0.113.1") || s.Index != first.Index {
		t.Fatalf("on the other device: %+v", s)
	}
	kerneltest.Shows(t, "-d link show gre1", "local 203.0.113.1", "mtu 1400", "<UP")
	kerneltest.Shows(t, "xfrm policy",
		"src 203.0.113.1/32 dst 0.0.0.0/0 proto gre", "-198.51.100.1")
	kerneltest.Shows(t, "neigh show dev gre1", "10.255.0.2 lladdr 203.0.113.2 PERMANENT")
	kerneltest.IP(t, "addr add 203.0.113.2/24 dev under1")
	kerneltest.IP(t, "addr del 203.0.113.1/24 dev under1")
	kerneltest.IP(t, "addr add 203.0.113.77/24 dev under1")
	for s := range states {
		if s.Local == netip.MustParseAddr("203.0.113.77") {
			break
		}
	}
	tunnel.SendFrom("under0")
	for s := range states {
		if s.Local == first.Local {
			break
		}
	}
}

// If the underlay is missing at the start, Run waits for it.
func TestTunnelWaitsForUnderlay(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	_, states := runTunnel(t, labTunnel)
	if s := <-states; s.Local.IsValid() || s.Index != 0 || !strings.Contains(s.Fault, "there is no device under0") {
		t.Fatalf("without the underlay: %+v", s)
	}
	kerneltest.Underlay(t)
	if s := withAddress(states); s.Local != netip.MustParseAddr("198.51.100.1") || !s.Created ||
		s.Fault != "" {
		t.Fatalf("state %+v", s)
	}
}

// withAddress waits for a state in which the tunnel has an address to send from.
func withAddress(states <-chan State) State {
	for s := range states {
		if s.Local.IsValid() {
			return s
		}
	}
	return State{}
}

// If a tunnel is up while its underlay is missing, the state shows that the tunnel is up, and why
// it is not as configured.
func TestTunnelIsThereWithoutUnderlay(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	kerneltest.IP(t, "link add gre1 type gre local 198.51.100.1 ttl 64 ikey 42 okey 42")
	kerneltest.IP(t, "link set gre1 up")
	elsewhere := labTunnel
	elsewhere.Underlay = "eth7"
	_, states := runTunnel(t, elsewhere)
	if s := <-states; s.Index == 0 || !s.Up || s.Local.IsValid() || !strings.Contains(s.Fault, "there is no device eth7") {
		t.Errorf("state %+v", s)
	}
}

// If the configuration takes the protection away, GRE passes in clear, and no guard is left that
// nobody would remove. The guard stays if another tunnel has the address and may rely on it.
func TestTunnelWithoutProtection(t *testing.T) {
	for _, c := range []struct {
		rule string
		make []string // ip commands that come before the tunnel
		ours bool     // the run that protected the tunnel had made it
		kept bool     // the guard stays
	}{
		{"a tunnel of ours", nil, true, false},
		{"one that was there before", []string{"link add gre1 type gre local 198.51.100.1 key 42 ttl 64"}, false, false},
		{
			"at another address until now",
			[]string{"addr add 198.51.100.7/24 dev under0", "link add gre1 type gre local 198.51.100.7 key 42 ttl 64"},
			false, false,
		},
		{"beside another tunnel at the address", []string{"link add other0 type gre local 198.51.100.1 key 7"}, true, true},
	} {
		t.Run(strings.ReplaceAll(c.rule, " ", "_"), func(t *testing.T) {
			if !kerneltest.OwnNamespace(t) {
				return
			}
			kerneltest.Underlay(t)
			for _, args := range c.make {
				kerneltest.IP(t, args)
			}
			once(t, New(labTunnel, kerneltest.Log(t)))
			kerneltest.Shows(t, "xfrm policy", "action block")
			cfg := labTunnel
			cfg.Protected = false
			cfg.Local = netip.MustParseAddr("198.51.100.1")
			tunnel := New(cfg, kerneltest.Log(t))
			once(t, tunnel)
			if guarded := strings.Contains(
				kerneltest.IP(t, "xfrm policy"), "action block",
			); guarded != c.kept {
				t.Errorf("guarded while it runs unprotected: %v", guarded)
			}
			if err := tunnel.Remove(); err != nil {
				t.Fatal(err)
			}
			if l := kerneltest.LinkNamed(t, "gre1"); (l == nil) != c.ours {
				t.Errorf("after Remove the link is %+v", l)
			}
			if guarded := strings.Contains(
				kerneltest.IP(t, "xfrm policy"), "action block",
			); guarded != c.kept {
				t.Errorf("guarded after Remove: %v", guarded)
			}
		})
	}
}

// once runs a tunnel until its first state.
func once(t *testing.T, tunnel *Tunnel) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	if err := tunnel.Run(ctx, func(State) { cancel() }); err != nil {
		t.Fatal(err)
	}
}

// The kernel allows no second tunnel with the same address and key. The error names the other
// tunnel.
func TestTunnelTaken(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	kerneltest.IP(t, "link add other0 type gre local 198.51.100.1 key 42")
	err := New(labTunnel, kerneltest.Log(t)).Run(t.Context(), func(State) {})
	if !errors.Is(err, rtnl.ErrTunnelTaken) || !strings.Contains(err.Error(), "other0") {
		t.Errorf("%v, want %v and other0", err, rtnl.ErrTunnelTaken)
	}
}

// A process without the permission gets an error that names the missing capability.
func TestTunnelNoPermission(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	kerneltest.DropNetAdmin(t)
	err := New(labTunnel, kerneltest.Log(t)).Run(t.Context(), func(State) {})
	if !errors.Is(err, rtnl.ErrNoPermission) {
		t.Errorf("%v, want %v", err, rtnl.ErrNoPermission)
	}
}

// A tunnel with an IPv6 underlay has a link that sends from an address that nobody has, and guards
// the IPv6 address. It sends from an IPv4 address once the underlay has one, and follows a
// renumbered prefix.
func TestTunnelOverIPv6(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.IP(t, "link add under0 type dummy")
	kerneltest.IP(t, "addr add fd00::1/64 dev under0 nodad")
	kerneltest.IP(t, "link set under0 up")
	cfg := labTunnel
	cfg.Protected = true
	_, states := runTunnel(t, cfg)
	await := func(want ...string) {
		t.Helper()
		deadline := time.After(15 * time.Second)
		for {
			select {
			case s := <-states:
				var have []string
				for _, a := range s.Addresses() {
					have = append(have, a.String())
				}
				if slices.Equal(have, want) {
					return
				}
			case <-deadline:
				t.Fatalf("the tunnel does not send from %v within 15 s", want)
			}
		}
	}
	await("fd00::1")
	kerneltest.Shows(t, "-d link show "+cfg.Name, "local 192.0.0.8")
	kerneltest.Shows(t, "xfrm policy", "src fd00::1/128 dst ::/0 proto gre", "src ::/0 dst fd00::1/128 proto gre")
	kerneltest.IP(t, "addr add 2001:db8::1/64 dev under0 nodad valid_lft 1000 preferred_lft 1000")
	await("2001:db8::1") // a global one comes before a unique local one
	kerneltest.Shows(t, "xfrm policy", "src 2001:db8::1/128 dst ::/0 proto gre", "-fd00::1/128")
	kerneltest.IP(t, "addr add 198.51.100.1/24 dev under0")
	await("198.51.100.1", "2001:db8::1")
	kerneltest.IP(t, "addr add 2001:db8:1::1/64 dev under0 nodad")
	kerneltest.IP(t, "addr change 2001:db8::1/64 dev under0 valid_lft 1000 preferred_lft 0")
	await("198.51.100.1", "2001:db8:1::1")
	kerneltest.IP(t, "addr del 198.51.100.1/24 dev under0")
	await("2001:db8:1::1")
	kerneltest.Shows(t, "-d link show "+cfg.Name, "local 192.0.0.8")
}

// The tunnel of an underlay in a VRF is bound to the VRF, keeps its MTU, and is bound to the new
// VRF when that is made again. While the VRF is missing, the state says so. Without the setting,
// the tunnel of an underlay that has left the VRF is bound to nothing.
func TestTunnelFollowsVRF(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	cfg := labTunnel
	cfg.VRF = "inet"
	ctx, cancel := context.WithCancel(t.Context())
	states, done := make(chan State, 100), make(chan error, 1)
	go func() {
		done <- New(cfg, kerneltest.Log(t)).Run(ctx, func(s State) { states <- s })
	}()
	const missing = "ip link add inet type vrf table 100"
	awaitState(states, func(s State) bool { return strings.Contains(s.Fault, missing) })
	for _, table := range []uint32{100, 101} {
		kerneltest.IP(t, fmt.Sprintf("link add inet type vrf table %d", table))
		awaitState(states, func(s State) bool { return s.VRFTable == table && s.Fault == "" })
		kerneltest.Shows(t, "-d link show gre1", "dev inet", "mtu 1400", "local 198.51.100.1")
		kerneltest.IP(t, "neigh replace 10.255.0.2 lladdr 198.51.100.2 dev gre1 nud permanent")
		kerneltest.IP(t, "link set gre1 mtu 1300")
		kerneltest.Shows(t, "link show gre1", "mtu 1400")
		kerneltest.IP(t, "link del inet")
		awaitState(states, func(s State) bool { return s.Fault != "" && s.VRFTable == 0 })
		kerneltest.Shows(t, "neigh show dev gre1", "10.255.0.2 lladdr 198.51.100.2")
	}
	kerneltest.IP(t, "link add inet type vrf table 100")
	awaitState(states, func(s State) bool { return s.Fault == "" })
	kerneltest.Shows(t, "-d link show gre1", "dev inet", "mtu 1400")
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	cfg.VRF = ""
	runTunnel(t, cfg)
	kerneltest.Shows(t, "-d link show gre1", "-dev inet", "mtu 1400", "local 198.51.100.1")
}

// awaitState returns once a state is as wanted.
func awaitState(states <-chan State, wanted func(State) bool) {
	for !wanted(<-states) {
	}
}
