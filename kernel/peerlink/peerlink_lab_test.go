//go:build lab

package peerlink

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

	"cygnet/kernel/datapath"
	"cygnet/kernel/kerneltest"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/xfrm"

	vnl "github.com/vishvananda/netlink"
)

var (
	hub6  = netip.MustParseAddr("2001:db8::1")
	peer6 = netip.MustParseAddr("2001:db8::2")
	seven = xfrm.LinkedNBMA(7)
	key   = uint32(42)
)

const aead = "aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128"

// world is a tunnel gre1 with its programs and links in the test's own namespace. In the namespace
// peer, a plain device gre6 over IPv6 stands for a router at 2001:db8::2 with the overlay address
// 10.255.9.2.
type world struct {
	peer  string
	path  datapath.Path
	links *Links
	ended chan error
	stop  context.CancelFunc
}

// newWorld builds the world, with the guard and the SAs of both ends if protect is set.
func newWorld(t *testing.T, protect bool, change func(*datapath.Config, *Config)) *world {
	t.Helper()
	w := &world{peer: kerneltest.PeerNamespace(t)}
	kerneltest.IPf(t, "link del gre6")
	kerneltest.IPf(t, "addr add 10.255.9.1/24 dev gre1")
	kerneltest.IPf(t, "addr add fd00:9::1/64 dev gre1 nodad")
	kerneltest.IPf(t, "-n %s addr flush dev gre6", w.peer)
	kerneltest.IPf(t, "-n %s addr add 10.255.9.2/24 dev gre6", w.peer)
	kerneltest.IPf(t, "-n %s addr add fd00:9::2/64 dev gre6 nodad", w.peer)
	kerneltest.IPf(t, "neigh add 10.255.9.2 lladdr %s dev gre1 nud permanent", seven)
	kerneltest.IPf(t, "neigh add fd00:9::2 lladdr %s dev gre1 nud permanent", seven)
	if protect {
		secure(t, w.peer)
	}
	w.start(t, change)
	return w
}

// start attaches the programs and runs the links.
func (w *world) start(t *testing.T, change func(*datapath.Config, *Config)) {
	t.Helper()
	gre, err := vnl.LinkByName("gre1")
	if err != nil {
		t.Fatal(err)
	}
	pathConfig := datapath.Config{
		Device: "gre1", Index: gre.Attrs().Index, Mode: datapath.ModeEBPF, Admission: true,
		Links: 4096,
	}
	config := Config{Tunnel: "gre1", Local: hub6, Key: &key, TTL: 64}
	if change != nil {
		change(&pathConfig, &config)
	}
	if w.path, err = datapath.Attach(kerneltest.Log(t), pathConfig); err != nil {
		t.Fatal(err)
	}
	if config.Programs, err = w.path.Links(); err != nil {
		t.Fatal(err)
	}
	w.links = New(config, kerneltest.Log(t))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	links := w.links
	go func() { ended <- links.Run(ctx) }()
	w.ended, w.stop = ended, cancel
	t.Cleanup(func() {
		if w.ended == ended {
			w.end(t)
		}
	})
}

// end stops what start started, as a daemon that ends does.
func (w *world) end(t *testing.T) {
	t.Helper()
	w.stop()
	if err := <-w.ended; err != nil {
		t.Error(err)
	}
	w.ended = nil
	w.path.Close()
}

// secure sets the guard of both ends and SAs between them.
func secure(t *testing.T, peer string) {
	t.Helper()
	there, back := "src 2001:db8::1 dst 2001:db8::2", "src 2001:db8::2 dst 2001:db8::1"
	states := fmt.Sprintf(`xfrm state add %[1]s proto esp spi 0x1001 reqid 1 mode transport %[3]s
		xfrm state add %[2]s proto esp spi 0x1002 reqid 1 mode transport %[3]s
		`, there, back, aead)
	policies := `xfrm policy add %[1]s proto gre dir out priority 1000 tmpl %[1]s proto esp reqid 1 mode transport
		xfrm policy add %[2]s proto gre dir in priority 1000 tmpl %[2]s proto esp reqid 1 mode transport
		`
	kerneltest.RunWith(t, states+fmt.Sprintf(policies, there, back), "ip -batch -")
	kerneltest.RunWith(t, states+fmt.Sprintf(policies, back, there), "ip -n "+peer+" -batch -")
	if err := xfrm.EnsureGuard(hub6); err != nil {
		t.Fatal(err)
	}
}

// want has the peer have its link, and waits until the link is up.
func (w *world) want(t *testing.T) {
	t.Helper()
	if err := w.links.Want(seven, peer6); err != nil {
		t.Fatal(err)
	}
	kerneltest.Shows(t, "link show "+linkOf(t, seven), "UP")
}

// linkOf returns the name of the link of a peer.
func linkOf(t *testing.T, name netip.Addr) string {
	t.Helper()
	gre, err := vnl.LinkByName("gre1")
	if err != nil {
		t.Fatal(err)
	}
	return datapath.LinkName(name, gre.Attrs().Index)
}

// pings reports whether the peer answers at an overlay address.
func pings(to string) bool {
	return exec.Command("ping", "-c1", "-W1", to).Run() == nil
}

// Data and NHRP pass between the tunnel and a peer at an IPv6 address, in both directions and only
// through the SAs. The programs name the peer as they name a marked one.
func TestPeerAtAnIPv6Address(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	w := newWorld(t, true, nil)
	w.want(t)
	if pings("10.255.9.2") {
		t.Error("data passed before the peer was admitted")
	}
	if err := w.path.Admit([]datapath.Admission{{NBMA: seven}}); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"10.255.9.2", "fd00:9::2"} {
		kerneltest.Eventually(t, to+" answers", func() bool { return pings(to) })
	}
	hears(t, w.peer)
	counted(t, w.path)
	kerneltest.Run(t, "ip", "xfrm", "state", "flush")
	kerneltest.Run(t, "ip", "xfrm", "policy", "deleteall", "priority", "1000")
	if pings("10.255.9.2") {
		t.Error("data passed without an SA")
	}
}

// hears checks that NHRP passes in both directions.
func hears(t *testing.T, peer string) {
	t.Helper()
	here, there := listen(t, "", "gre1"), listen(t, peer, "gre6")
	send(t, there, hub6)
	if m := readOne(t, here); m.NBMA != seven || len(m.Data) != 120 {
		t.Errorf("NHRP came from %s with %d bytes, want %s and 120", m.NBMA, len(m.Data), seven)
	}
	reading := make(chan error, 1)
	go func() {
		_, err := there.ReadBatch(make([]nhrpsocket.Message, 1))
		reading <- err
	}()
	defer func() {
		there.Close()
		<-reading
	}()
	send(t, here, seven)
	// The socket of a device over IPv6 counts what arrives, and can say no sender.
	kerneltest.Eventually(t, "NHRP arrives at the peer", func() bool {
		stats, err := there.Stats()
		return err == nil && stats.BadAddress == 1
	})
}

// counted checks the times of use and the counts of what was sent.
func counted(t *testing.T, path datapath.Path) {
	t.Helper()
	used, err := path.Use()
	if err != nil {
		t.Fatal(err)
	}
	if len(used) != 1 || used[0].NBMA != seven || used[0].In.IsZero() || used[0].Out.IsZero() {
		t.Errorf("use is %+v, want that of %s", used, seven)
	}
	sent, err := path.Sent()
	if err != nil {
		t.Fatal(err)
	}
	if len(sent) != 1 || sent[0].NBMA != peer6 || sent[0].Packets < 2 {
		t.Errorf("sent is %+v, want that of %s", sent, peer6)
	}
}

// listen opens an NHRP socket on a device.
func listen(t *testing.T, namespace, device string) *nhrpsocket.Socket {
	t.Helper()
	var s *nhrpsocket.Socket
	kerneltest.OnDevice(t, namespace, device, func(index int) (err error) {
		s, err = nhrpsocket.Listen(index, kerneltest.ProtocolNHRP)
		return err
	})
	t.Cleanup(func() { s.Close() })
	return s
}

// send sends one packet of 120 bytes.
func send(t *testing.T, s *nhrpsocket.Socket, to netip.Addr) {
	t.Helper()
	m := nhrpsocket.Message{NBMA: to, Data: kerneltest.Numbered(1)[0]}
	if _, err := s.WriteBatch([]nhrpsocket.Message{m}); err != nil {
		t.Fatal(err)
	}
}

// readOne reads one packet. The test ends if none comes.
func readOne(t *testing.T, s *nhrpsocket.Socket) nhrpsocket.Message {
	t.Helper()
	deadline := time.AfterFunc(10*time.Second, func() { s.Close() })
	defer deadline.Stop()
	ms := make([]nhrpsocket.Message, 1)
	if _, err := s.ReadBatch(ms); err != nil {
		t.Fatalf("no packet within 10 s: %v", err)
	}
	return ms[0]
}

// A mark that is a peer's name counts only on packets that its link handed up: the site's own rules
// may set any mark.
func TestMarkAloneNamesNobody(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	w := newWorld(t, false, nil)
	w.want(t)
	if err := w.path.Admit([]datapath.Admission{{NBMA: seven}}); err != nil {
		t.Fatal(err)
	}
	mark, _ := xfrm.MarkOf(seven)
	kerneltest.IPf(t, "link set under0 up")
	kerneltest.Run(t, "tc", "qdisc", "add", "dev", "under0", "clsact")
	kerneltest.Run(t, "tc", "filter", "add", "dev", "under0", "ingress", "matchall",
		"action", "skbedit", "mark", fmt.Sprint(mark))
	here, there := listen(t, "", "gre1"), listen(t, w.peer, "gre1")
	send(t, there, netip.MustParseAddr("198.51.100.1"))
	if m := readOne(t, here); m.NBMA != netip.MustParseAddr("198.51.100.2") || m.Mark != 0 {
		t.Errorf("NHRP over IPv4 came from %s with mark %d", m.NBMA, m.Mark)
	}
	if pings("10.255.0.2") {
		t.Error("data over IPv4 passed by the admission of the peer whose name is its mark")
	}
}

// After a restart the links of before carry on in the new run's programs, from the moment in which
// these are attached, and those that nobody wants go.
func TestRestartAdoptsLinks(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	w := newWorld(t, true, nil)
	w.want(t)
	eight := xfrm.LinkedNBMA(8)
	if err := w.links.Want(eight, netip.MustParseAddr("2001:db8::8")); err != nil {
		t.Fatal(err)
	}
	kerneltest.Shows(t, "link show "+linkOf(t, eight), "UP")
	before := kerneltest.IP(t, "-o link show "+linkOf(t, seven))
	w.end(t)
	// One of each kind that an earlier run may leave: unfinished, and with another key.
	const from = "type ip6gre local 2001:db8::1 remote 2001:db8::"
	kerneltest.IPf(t, "link add cyg6-0009-1 "+from+"9 key 42")
	kerneltest.IPf(t, "link add cyg6-000a-1 "+from+"a key 43")
	kerneltest.Run(t, "ip", "link", "set", "cyg6-000a-1", "alias", "cygnet link of gre1", "up")

	found, err := Find()
	if err != nil || !slices.ContainsFunc(found, func(l Left) bool {
		return l.Tunnel == "gre1" && l.Name == seven && l.Local == hub6 && l.Remote == peer6 &&
			l.Index > 0
	}) {
		t.Errorf("Find returns %v, %v; want %s from %s to %s", found, err, seven, hub6, peer6)
	}
	w.start(t, func(c *datapath.Config, _ *Config) {
		c.Admitted = []datapath.Admission{{NBMA: seven}}
		path, err := datapath.Attach(kerneltest.Log(t), *c)
		if err != nil {
			t.Fatal(err)
		}
		if !pings("10.255.9.2") {
			t.Error("the programs do not know the links until these are looked at")
		}
		path.Close()
	})
	kerneltest.Eventually(t, "the peer answers", func() bool { return pings("10.255.9.2") })
	w.want(t)
	w.links.Settle()
	kerneltest.Shows(t, "link",
		"-"+linkOf(t, eight), "-cyg6-0009-1", "-cyg6-000a-1", linkOf(t, seven))
	if now := kerneltest.IP(t, "-o link show "+linkOf(t, seven)); now != before {
		t.Errorf("the peer's link was\n%s and is\n%s", before, now)
	}
	if err := Remove("gre1"); err != nil {
		t.Fatal(err)
	}
	kerneltest.Shows(t, "link", linkOf(t, seven)) // Run makes it again
}

// Beyond the limit a peer gets no link until another peer's is free.
func TestLimitOfLinks(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	w := newWorld(t, false, func(_ *datapath.Config, c *Config) {
		c.Max, c.Linger = 1, time.Millisecond
	})
	w.want(t)
	eight := xfrm.LinkedNBMA(8)
	if err := w.links.Want(eight, netip.MustParseAddr("2001:db8::8")); !errors.Is(err, ErrTooMany) {
		t.Errorf("the second peer: %v, want ErrTooMany", err)
	}
	if st := w.links.Stats(); st.Refused != 1 || st.Links != 1 {
		t.Errorf("stats %+v, want 1 link and 1 refused peer", st)
	}
	w.links.Settle()
	w.links.Unwant(seven)
	kerneltest.Shows(t, "link", linkOf(t, eight), "-"+linkOf(t, seven))
}

// await waits until there are so many links. A guest that shares its processor is slow.
func (w *world) await(t *testing.T, count int) {
	t.Helper()
	deadline := time.After(3 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for w.links.Stats().Links != count {
		select {
		case <-deadline:
			t.Fatalf("after 3 minutes the links are %+v, want %d", w.links.Stats(), count)
		case <-tick.C:
		}
	}
}

// A thousand peers get their links, and lose them. The figures are in the test's log.
func TestThousandLinks(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	w := newWorld(t, false, nil)
	w.links.Settle()
	begun := time.Now()
	for i := range 1000 {
		remote := netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%x", i+1))
		if err := w.links.Want(xfrm.LinkedNBMA(uint16(100+i)), remote); err != nil {
			t.Fatal(err)
		}
	}
	count := func() int {
		return strings.Count(kerneltest.IP(t, "-o link show type ip6gre"), "cyg6-")
	}
	w.await(t, 1000)
	t.Logf("1,000 links made in %v", time.Since(begun).Round(time.Millisecond))
	if n := count(); n != 1000 {
		t.Errorf("there are %d links, want 1000", n)
	}
	w.end(t)
	begun = time.Now()
	w.start(t, nil)
	for i := range 1000 {
		remote := netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%x", i+1))
		if err := w.links.Want(xfrm.LinkedNBMA(uint16(100+i)), remote); err != nil {
			t.Fatal(err)
		}
	}
	w.await(t, 1000)
	t.Logf("1,000 links adopted in %v", time.Since(begun).Round(time.Millisecond))
	w.end(t)
	begun = time.Now()
	if err := Remove("gre1"); err != nil {
		t.Fatal(err)
	}
	t.Logf("1,000 links removed in %v", time.Since(begun).Round(time.Millisecond))
	if n := count(); n != 0 {
		t.Errorf("%d links are left", n)
	}
}
