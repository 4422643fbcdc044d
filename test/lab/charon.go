package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/session"
)

// Charon is the stock charon of a router.
type Charon struct {
	*Process
	router *Router
	vrf    string // the VRF that charon runs in; empty: none
}

// CharonSocket is the path of charon's VICI socket on every router: Debian's default.
const CharonSocket = "/run/charon.vici"

// strongswanConf has the settings that a site needs, and retransmission times with which charon
// notices a dead peer soon enough for a test.
const strongswanConf = `charon {
	load = random nonce openssl aes sha1 sha2 hmac kdf gmp pem pkcs1 pkcs8 pubkey x509 constraints revocation kernel-netlink socket-default counters updown vici
	install_routes = no
	retransmit_tries = 4
	retransmit_timeout = 1.0
	retransmit_base = 1.4
}
swanctl {
	load = pem pkcs1 pkcs8 x509 pubkey openssl
}
`

// charonLog makes charon log to a file of the node.
const charonLog = `charon {
	filelog {
		lab {
			path = %s
			time_format = %%b %%e %%T
			time_add_ms = yes
			ike_name = yes
			flush_line = yes
			default = 1
		}
	}
}
`

// Charon starts charon on the router and waits until charon answers. It does not load what is in
// /etc/swanctl; Run("swanctl", "--load-all") loads that.
func (r *Router) Charon() *Charon {
	r.net.Helper()
	r.WriteFile("/etc/strongswan.conf", 0o644, strongswanConf+r.charonLog())
	return r.startCharon()
}

// CharonIn is Charon in a VRF of the router, by `ip vrf exec`.
func (r *Router) CharonIn(vrf string) *Charon {
	r.net.Helper()
	r.WriteFile("/etc/strongswan.conf", 0o644, strongswanConf+r.charonLog())
	c := &Charon{router: r, vrf: vrf}
	c.Start()
	return c
}

// DebianCharon is Charon with the configuration of Debian's packages, to which it adds conf as a
// file in /etc/strongswan.d.
func (r *Router) DebianCharon(conf string) *Charon {
	r.net.Helper()
	for _, name := range []string{"/etc/strongswan.conf", "/etc/strongswan.d"} {
		// On the node, its own /etc hides that of the host. So copy from outside.
		if out, err := command("cp", "-a", name, r.Path("/etc")).CombinedOutput(); err != nil {
			r.net.Fatalf("%s: copy %s: %v: %s", r.Name, name, err, out)
		}
	}
	r.WriteFile("/etc/strongswan.d/cygnet.conf", 0o644, conf)
	r.WriteFile("/etc/strongswan.d/lab.conf", 0o644, r.charonLog())
	return r.startCharon()
}

// charonLog returns the settings of charon's log on this router.
func (r *Router) charonLog() string { return fmt.Sprintf(charonLog, r.dir+"/log/charon.log") }

// startCharon starts charon with the settings that are there.
func (r *Router) startCharon() *Charon {
	r.net.Helper()
	c := &Charon{router: r}
	c.Start()
	return c
}

// Start starts charon again after the test ended it, and waits until charon answers.
func (c *Charon) Start() {
	t := c.router.net
	t.Helper()
	command := []string{"/usr/lib/ipsec/charon"}
	if c.vrf != "" {
		command = append([]string{"ip", "vrf", "exec", c.vrf}, command...)
	}
	c.Process = c.router.Node.Start("charon-output", nil, command[0], command[1:]...)
	t.Await("charon on "+c.router.Name+" answers", 20*time.Second, func() error {
		if !c.Alive() {
			t.Fatalf("charon on %s ended: %v\n%s", c.router.Name, c.err, c.Output())
		}
		_, err := c.list()
		return err
	})
}

// SA is an IKE_SA with its first CHILD_SA, as charon lists it.
type SA struct {
	Name       string
	ID         string // charon's unique ID, which swanctl --terminate --ike-id takes
	State      string // ESTABLISHED, CONNECTING …
	Local      netip.Addr
	Remote     netip.Addr
	RemotePort uint16
	RemoteID   string
	Initiator  bool
	NAT        bool // at least one end is behind NAT
	Child      string
	Mode       string // TRANSPORT
	ChildUp    bool   // a CHILD_SA is INSTALLED
	BytesIn    uint64
	BytesOut   uint64
	Mark       uint32   // the mark of the CHILD_SA, or 0
	SPIs       []uint32 // of all CHILD_SAs, in both directions
	IKE        string   // the initiator's and the responder's SPI, the same at both ends
}

// SAs lists charon's IKE_SAs.
func (c *Charon) SAs() []SA {
	t := c.router.net
	t.Helper()
	sas, err := c.list()
	if err != nil {
		t.Fatalf("list the SAs of %s: %v", c.router.Name, err)
	}
	return sas
}

// With lists charon's IKE_SAs with a peer, by the peer's address.
func (c *Charon) With(peer netip.Addr) []SA {
	c.router.net.Helper()
	var list []SA
	for _, sa := range c.SAs() {
		if sa.Remote == peer {
			list = append(list, sa)
		}
	}
	return list
}

// list is SAs, but returns an error if charon does not answer.
func (c *Charon) list() ([]SA, error) {
	var sas []SA
	err := session.Stream(
		context.Background(),
		30*time.Second,
		c.router.Path(CharonSocket),
		"list-sas",
		"list-sa",
		func(m *govici.Message) {
			for _, name := range m.Keys() {
				if section, ok := m.Get(name).(*govici.Message); ok {
					sas = append(sas, readSA(name, section))
				}
			}
		},
	)
	return sas, err
}

// Connections returns the names of the connections that charon has loaded, sorted.
func (c *Charon) Connections() []string {
	t := c.router.net
	t.Helper()
	session, err := govici.NewSession(govici.WithAddr("unix", c.router.Path(CharonSocket)))
	if err != nil {
		t.Fatalf("connect to charon on %s: %v", c.router.Name, err)
	}
	defer session.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	answer, err := session.Call(ctx, "get-conns", govici.NewMessage())
	if err != nil {
		t.Fatalf("list the connections of %s: %v", c.router.Name, err)
	}
	names, _ := answer.Get("conns").([]string)
	return slices.Sorted(slices.Values(names))
}

// readSA reads one IKE_SA from charon's answer to list-sas.
func readSA(name string, m *govici.Message) SA {
	text := func(m *govici.Message, key string) string {
		s, _ := m.Get(key).(string)
		return s
	}
	sa := SA{
		Name:      name,
		ID:        text(m, "uniqueid"),
		State:     text(m, "state"),
		RemoteID:  text(m, "remote-id"),
		Initiator: text(m, "initiator") == "yes",
		NAT:       text(m, "nat-any") == "yes",
		IKE:       text(m, "initiator-spi") + "_" + text(m, "responder-spi"),
	}
	sa.Local, _ = netip.ParseAddr(text(m, "local-host"))
	sa.Remote, _ = netip.ParseAddr(text(m, "remote-host"))
	fmt.Sscan(text(m, "remote-port"), &sa.RemotePort)
	children, _ := m.Get("child-sas").(*govici.Message)
	if children == nil {
		return sa
	}
	for _, key := range children.Keys() {
		child, ok := children.Get(key).(*govici.Message)
		if !ok {
			continue
		}
		for _, key := range []string{"spi-in", "spi-out"} {
			if spi, err := strconv.ParseUint(text(child, key), 16, 32); err == nil {
				sa.SPIs = append(sa.SPIs, uint32(spi))
			}
		}
		if text(child, "state") != "INSTALLED" {
			continue
		}
		sa.Child, sa.Mode, sa.ChildUp = text(child, "name"), text(child, "mode"), true
		fmt.Sscan(text(child, "bytes-in"), &sa.BytesIn)
		if mark, err := strconv.ParseUint(text(child, "mark-out"), 16, 32); err == nil {
			sa.Mark = uint32(mark)
		}
		fmt.Sscan(text(child, "bytes-out"), &sa.BytesOut)
	}
	return sa
}
