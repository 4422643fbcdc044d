//go:build lab

package multicast

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/kernel/kerneltest"
	"cygnet/kernel/rtnl"

	"golang.org/x/sys/unix"
)

// The groups that the tests send to. hello is a group of the link, as routing protocols use.
var (
	group4 = netip.MustParseAddr("239.1.1.1")
	hello4 = netip.MustParseAddr("224.0.0.5")
	group6 = netip.MustParseAddr("ff05::1:1")
	hello6 = netip.MustParseAddr("ff02::5")
)

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

var spokes = []Peer{{Outer: kerneltest.Spoke1NBMA}, {Outer: kerneltest.Spoke2NBMA}}

// pathOf attaches the programs of the data path to a tunnel.
func pathOf(t testing.TB, device string, admitted ...netip.Addr) datapath.Path {
	t.Helper()
	cfg := datapath.Config{Device: device, Mode: datapath.ModeEBPF, Admission: len(admitted) > 0}
	cfg.Index = kerneltest.LinkNamed(t, device).Index
	for _, a := range admitted {
		cfg.Admitted = append(cfg.Admitted, datapath.Admission{NBMA: a})
	}
	path, err := datapath.Attach(kerneltest.Log(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { path.Close() })
	return path
}

// replicate attaches a Replicator to a tunnel. An error ends the test.
func replicate(t testing.TB, path datapath.Path, device string, cfg Config) *Replicator {
	t.Helper()
	cfg.Device, cfg.Index = device, kerneltest.LinkNamed(t, device).Index
	cfg.Companion = path.Companion
	r, err := Attach(kerneltest.Log(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if s := r.State(); s.Mode != ModeEBPF || s.Fault != "" || s.Peers != len(cfg.Peers) {
		t.Fatalf("the state after Attach is %+v", s)
	}
	return r
}

// hub builds the lab of a hub and two spokes, and has the hub's gre1 carry groups of both families.
// The kernel sends to groups of its own, such as reports of groups that it joined. Unless the
// Config says which groups pass, these are only the tests'.
func hub(t testing.TB, cfg Config) (datapath.Path, *Replicator) {
	t.Helper()
	kerneltest.HubAndSpokes(t)
	takesGroups(t, "gre1")
	if len(cfg.Groups.Allow) == 0 {
		for _, g := range []netip.Addr{group4, hello4, group6, hello6} {
			cfg.Groups.Allow = append(cfg.Groups.Allow, netip.PrefixFrom(g, g.BitLen()))
		}
	}
	path := pathOf(t, "gre1")
	return path, replicate(t, path, "gre1", cfg)
}

// takesGroups sets the broadcast address of a tunnel, which the kernel needs for IPv6 groups.
func takesGroups(t testing.TB, device string) {
	t.Helper()
	r, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	index := kerneltest.LinkNamed(t, device).Index
	if err := r.SetBroadcast(index, broadcast); err != nil {
		t.Fatal(err)
	}
}

// sender sends numbered datagrams to groups over a tunnel.
type sender struct {
	t       testing.TB
	v4, v6  int
	written uint32
}

// newSender returns a sender. Its datagrams have the type of service of a routing protocol.
func newSender(t testing.TB, namespace, device string) *sender {
	t.Helper()
	s := &sender{t: t}
	kerneltest.OnDevice(t, namespace, device, func(index int) (err error) {
		const kind = unix.SOCK_DGRAM | unix.SOCK_CLOEXEC
		if s.v4, err = unix.Socket(unix.AF_INET, kind, 0); err != nil {
			return err
		}
		if s.v6, err = unix.Socket(unix.AF_INET6, kind, 0); err != nil {
			return err
		}
		const cs6 = 0xc0
		return errors.Join(
			unix.SetsockoptIPMreqn(s.v4, unix.IPPROTO_IP, unix.IP_MULTICAST_IF,
				&unix.IPMreqn{Ifindex: int32(index)}),
			unix.SetsockoptInt(s.v4, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 8),
			unix.SetsockoptInt(s.v4, unix.IPPROTO_IP, unix.IP_TOS, cs6),
			unix.SetsockoptInt(s.v6, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index),
			unix.SetsockoptInt(s.v6, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, cs6))
	})
	t.Cleanup(func() {
		unix.Close(s.v4)
		unix.Close(s.v6)
	})
	return s
}

// send sends one datagram to each group, of which each has its number.
func (s *sender) send(groups ...netip.Addr) {
	s.t.Helper()
	for _, g := range groups {
		if err := s.try(g, 64); err != nil {
			s.t.Fatalf("send to %s: %v", g, err)
		}
	}
}

// try sends a datagram with that many bytes of payload to a group.
func (s *sender) try(group netip.Addr, length int) error {
	payload := binary.BigEndian.AppendUint32(nil, s.written)
	payload = append(payload, make([]byte, length-len(payload))...)
	s.written++
	if group.Is4() {
		return unix.Sendto(s.v4, payload, 0, &unix.SockaddrInet4{Port: 9, Addr: group.As4()})
	}
	return unix.Sendto(s.v6, payload, 0, &unix.SockaddrInet6{Port: 9, Addr: group.As16()})
}

// copyOf is a datagram of a sender as it was received or captured.
type copyOf struct {
	group  netip.Addr
	number uint32
}

// parse reads a datagram of a sender from its IP header on.
func parse(packet []byte) (c copyOf, ok bool) {
	const udp = 17
	switch {
	case len(packet) >= 32 && packet[0] == 0x45 && packet[9] == udp:
		c.group = netip.AddrFrom4([4]byte(packet[16:]))
		c.number = binary.BigEndian.Uint32(packet[28:])
	case len(packet) >= 52 && packet[0]>>4 == 6 && packet[6] == udp:
		c.group = netip.AddrFrom16([16]byte(packet[24:]))
		c.number = binary.BigEndian.Uint32(packet[48:])
	}
	return c, c.group.IsMulticast()
}

// capture captures packets on a device.
type capture struct {
	t      testing.TB
	socket int
}

// listen captures what comes and goes on a device of a namespace, from the network header on.
func listen(t testing.TB, namespace, device string) *capture {
	t.Helper()
	e := &capture{t: t}
	kerneltest.OnDevice(t, namespace, device, func(index int) (err error) {
		all := rtnl.NetworkOrder(unix.ETH_P_ALL)
		e.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(e.socket, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20),
			unix.Bind(e.socket, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}))
	})
	t.Cleanup(func() { unix.Close(e.socket) })
	return e
}

// next returns the next packet. It returns nil if none comes within the wait.
func (e *capture) next(wait time.Duration) []byte {
	e.t.Helper()
	limit := unix.NsecToTimeval(max(wait, time.Microsecond).Nanoseconds())
	err := unix.SetsockoptTimeval(e.socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	if err != nil {
		e.t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, _, err := unix.Recvfrom(e.socket, b, 0)
	for errors.Is(err, unix.EINTR) {
		n, _, err = unix.Recvfrom(e.socket, b, 0)
	}
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	if err != nil {
		e.t.Fatal(err)
	}
	return b[:n]
}

// soon is how long a test waits for a packet that has to come.
const soon = 15 * time.Second

// until returns the copies that came before the one that is the sign, which has to come.
func (e *capture) until(sign copyOf) (all []copyOf) {
	e.t.Helper()
	for {
		p := e.next(soon)
		if p == nil {
			e.t.Fatalf("not within %s: %v", soon, sign)
		}
		c, ok := parse(p)
		if ok && c == sign {
			return all
		}
		if ok {
			all = append(all, c)
		}
	}
}

// sorted returns copies in the order of their numbers.
func sorted(all []copyOf) []copyOf {
	return slices.SortedFunc(slices.Values(all), func(a, b copyOf) int {
		return cmp.Compare(a.number, b.number)
	})
}

// all returns everything captured so far.
func (e *capture) all() (packets [][]byte) {
	e.t.Helper()
	for p := e.next(0); p != nil; p = e.next(0) {
		packets = append(packets, p)
	}
	return packets
}

// outer is the outer header of a captured packet, and what is in it.
type outer struct {
	from, to netip.Addr
	tos, ttl byte
	df       bool
	protocol byte
	key      uint32
	copyOf   copyOf // only of GRE
}

// parseOuter reads a packet on the underlay from its IP header on.
func parseOuter(packet []byte) (o outer, ok bool) {
	if len(packet) < 28 || packet[0] != 0x45 {
		return o, false
	}
	o = outer{
		from: netip.AddrFrom4([4]byte(packet[12:])), to: netip.AddrFrom4([4]byte(packet[16:])),
		tos: packet[1], df: packet[6]&0x40 != 0, ttl: packet[8], protocol: packet[9],
	}
	if o.protocol == unix.IPPROTO_GRE {
		o.key = binary.BigEndian.Uint32(packet[24:])
		o.copyOf, _ = parse(packet[28:])
	}
	return o, true
}

// clear returns the packets of GRE in clear among captured ones.
func clear(packets [][]byte) (found []outer) {
	for _, p := range packets {
		if o, ok := parseOuter(p); ok && o.protocol == unix.IPPROTO_GRE {
			found = append(found, o)
		}
	}
	return found
}

// sentTo returns how many segments the data path counts as sent to each address that is not the
// tunnel's broadcast address.
func sentTo(t testing.TB, path datapath.Path) map[netip.Addr]uint64 {
	t.Helper()
	sent, err := path.Sent()
	if err != nil {
		t.Fatal(err)
	}
	counted := make(map[netip.Addr]uint64)
	for _, p := range sent {
		if p.NBMA != broadcast {
			counted[p.NBMA] = p.Segments
		}
	}
	return counted
}

// statsOf returns the counts of a Replicator.
func statsOf(t testing.TB, r *Replicator) Stats {
	t.Helper()
	s, err := r.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return s
}
