//go:build lab

package vici

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Two ends with the same PSK get an SA in transport mode for GRE, and each client reports the
// identity of the other end.
func TestPSK(t *testing.T) {
	r := routers(t, 2)
	hub, spoke := r[0].client(), r[1].client()
	hub.SetProfile(r[0].applied())
	spoke.SetProfile(r[1].applied())
	hub.snapshot(0)
	spoke.snapshot(0)
	eventually(t, "the hub's template", func() bool { return r[0].loaded("cygnet-gre1") })

	spoke.Want(r[0].key(), Initiate)
	got := spoke.up(r[0].key())
	if want := (Peer{
		Interface: "gre1",
		NBMA:      r[0].addr,
		Identity:  "r1.example.net",
		Initiator: true,
	}); !got.Equal(want) {
		t.Errorf("the spoke: want %+v, have %+v", want, got)
	}
	got = hub.up(r[1].key())
	if want := (Peer{
		Interface: "gre1",
		NBMA:      r[1].addr,
		Identity:  "r2.example.net",
	}); !got.Equal(want) {
		t.Errorf("the hub: want %+v, have %+v", want, got)
	}
	eventually(t, "the states", func() bool {
		return strings.Count(shell(t, "ip -n r2 xfrm state"), "proto esp") == 2
	})
	child := spoke.SAs()[0].Children[0]
	if child.Mode != "TRANSPORT" || child.Encryption != "AES_GCM_16-256" ||
		fmt.Sprint(child.LocalTS, child.RemoteTS) != "[192.0.2.2/32[gre]] [192.0.2.1/32[gre]]" {
		t.Errorf("the CHILD_SA is %+v", child)
	}
}

// pair returns two routers, the hub first, and their clients. Both have profiles, and an SA that
// the spoke initiated.
func pair(t *testing.T) (r []*router, hub, spoke *watch) {
	t.Helper()
	r = routers(t, 2)
	hub, spoke = r[0].client(), r[1].client()
	hub.SetProfile(r[0].applied())
	spoke.SetProfile(r[1].applied())
	hub.snapshot(0)
	spoke.snapshot(0)
	eventually(t, "the hub's template", func() bool { return r[0].loaded("cygnet-gre1") })
	spoke.Want(r[0].key(), Initiate)
	spoke.up(r[0].key())
	hub.up(r[1].key())
	return r, hub, spoke
}

// Close ends the SA at both ends and unloads the peer's connection. The template stays.
func TestClose(t *testing.T) {
	r, hub, spoke := pair(t)
	if !r[1].loaded("cygnet-gre1-192.0.2.1") {
		t.Error("the spoke has no connection to the hub")
	}
	spoke.Want(r[0].key(), None)
	spoke.Close(r[0].key())
	if reason := spoke.down(r[0].key()); reason != "closed by this end" {
		t.Errorf("the spoke's reason is %q", reason)
	}
	if reason := hub.down(r[1].key()); !strings.Contains(reason, "closed by the peer") {
		t.Errorf("the hub's reason is %q", reason)
	}
	eventually(t, "the connection unloaded", func() bool {
		return !r[1].loaded("cygnet-gre1-192.0.2.1")
	})
	if !r[1].loaded("cygnet-gre1") {
		t.Error("the template went with the peer")
	}
	// charon raises the event before it deletes the states.
	eventually(t, "no states",
		func() bool { return shell(t, "ip -n r1 xfrm state; ip -n r2 xfrm state") == "" })
}

// After RemoveProfile no SA stays, although the peer dials again as soon as it has lost one.
func TestRemoveProfile(t *testing.T) {
	r, hub, spoke := pair(t)
	for range 3 {
		hub.RemoveProfile("gre1")
		spoke.down(r[0].key())
		eventually(t, "the hub has no connection", func() bool {
			return !r[0].loaded("cygnet-gre1")
		})
		spoke.failed(r[0].key(), "") // it has dialled again
		eventually(t, "neither end has a state", func() bool {
			return shell(t, "ip -n r1 xfrm state; ip -n r2 xfrm state") == ""
		})
		hub.SetProfile(r[0].applied())
		hub.snapshot(0)
		eventually(t, "the hub's template", func() bool { return r[0].loaded("cygnet-gre1") })
		spoke.Want(r[0].key(), None) // begins the back-off anew
		spoke.Want(r[0].key(), Initiate)
		hub.up(r[1].key())
		spoke.up(r[0].key())
	}
}

// Abandon ends, at both ends, the SAs that an earlier client left for one interface, and unloads
// the connections. The SAs and connections of other interfaces stay.
func TestAbandon(t *testing.T) {
	r, hub, spoke := pair(t)
	spoke.stop()
	abandon := func(iface string) {
		t.Helper()
		if err := Abandon(t.Context(), r[1].socket(),
			func(i string) bool { return i == iface }); err != nil {
			t.Fatal(err)
		}
	}
	abandon("gre2")
	if !r[1].loaded("cygnet-gre1") ||
		!strings.Contains(shell(t, "ip -n r2 xfrm state"), "proto esp") {
		t.Error("an interface lost what belongs to it with another")
	}
	abandon("gre1")
	if r[1].loaded("cygnet-gre1") || r[1].loaded("cygnet-gre1-192.0.2.1") {
		t.Error("connections are left")
	}
	if reason := hub.down(r[1].key()); !strings.Contains(reason, "closed by the peer") {
		t.Errorf("the hub's reason is %q", reason)
	}
	eventually(t, "no states",
		func() bool { return shell(t, "ip -n r1 xfrm state; ip -n r2 xfrm state") == "" })
}

// When both ends dial at the same time, one pair of SAs remains. No client ever reports that the
// peer is lost.
func TestBothInitiate(t *testing.T) {
	r := routers(t, 2)
	w := []*watch{r[0].client(), r[1].client()}
	for i := range w {
		w[i].SetProfile(r[i].applied())
		w[i].snapshot(0)
	}
	for i := range w {
		eventually(t, "the templates", func() bool { return r[i].loaded("cygnet-gre1") })
	}
	for round := range 6 {
		for i := range w {
			w[i].Want(r[1-i].key(), Initiate)
		}
		for i := range w {
			w[i].up(r[1-i].key())
		}
		duplicates := max(len(w[0].SAs()), len(w[1].SAs())) > 1
		// charon lists an attempt that is under way, too. If the test went on meanwhile, the SA of
		// that attempt would come after the end of the other.
		eventually(t, "one IKE_SA with one child at both ends, and no attempt", func() bool {
			for _, r := range r {
				if strings.Count(r.swanctl("--list-sas", "--raw"), "uniqueid=") != 2 {
					return false
				}
			}
			a, b := w[0].SAs(), w[1].SAs()
			return len(a) == 1 && len(b) == 1 && a[0].InitiatorSPI == b[0].InitiatorSPI
		})
		eventually(t, "one pair of states on each end", func() bool {
			return shell(
				t,
				"ip -n r1 xfrm state | grep -c '^src'; ip -n r2 xfrm state | grep -c '^src'",
			) == "2\n2\n"
		})
		t.Logf("round %d: duplicates %v", round+1, duplicates) // whether there are any is chance
		for i := range w {
			w[i].Want(r[1-i].key(), Accept)
		}
		w[0].Close(r[1].key())
		for i := range w {
			w[i].down(r[1-i].key())
		}
	}
	for i := range w {
		ups, downs := 0, 0
		for _, e := range w[i].events {
			switch e.(type) {
			case Up:
				ups++
			case Down:
				downs++
			}
		}
		if downs != 6 {
			t.Errorf("%s: %d times down in 6 rounds (%d up)", w[i].name, downs, ups)
		}
	}
}

// A charon that has crashed and is started again knows no SAs. The client reports a snapshot
// without peers, and then secures the peers again.
func TestCharonKilled(t *testing.T) {
	r, _, spoke := pair(t)
	before, version := shell(t, "ip -n r2 xfrm state | grep -c '^src'"), spoke.Status().Version
	if version == "" {
		t.Error("the status does not say which version charon is of")
	}
	r[1].kill()
	await(spoke, "Disconnected", func(Disconnected) bool { return true })
	if after := shell(t, "ip -n r2 xfrm state | grep -c '^src'"); after != before {
		t.Errorf("the kernel has %s states after the crash, had %s", after, before)
	}
	if spoke.Status().Connected {
		t.Error("the status says that charon is there")
	}
	r[1].start()
	await(spoke, "Connected", func(e Connected) bool { return e.Version == version })
	spoke.snapshot(0)
	spoke.up(r[0].key())
}

// An orderly stop of charon closes the SAs and tells the other end. The other end dials again as
// soon as charon is back.
func TestCharonRestarted(t *testing.T) {
	r, hub, spoke := pair(t)
	r[0].stop()
	if reason := spoke.down(r[0].key()); !strings.Contains(reason, "closed by the peer") {
		t.Errorf("the reason is %q", reason)
	}
	await(hub, "Disconnected", func(Disconnected) bool { return true })
	r[0].start()
	hub.snapshot(0)
	spoke.up(r[0].key())
	hub.up(r[1].key())
}

// A new client adopts the SAs that are there, and unloads connections for peers that are not wanted
// any more.
func TestAdopt(t *testing.T) {
	r, _, spoke := pair(t)
	spoke.stop()
	again := r[1].client(func(t *times) { t.orphans, t.connections = time.Second, time.Second })
	again.SetProfile(r[1].applied())
	again.snapshot(1)
	again.Want(r[0].key(), Accept)
	if sas := again.SAs(); len(sas) != 1 || sas[0].Connection != "cygnet-gre1-192.0.2.1" {
		t.Errorf("adopted %+v", sas)
	}
	again.Want(r[0].key(), None)
	eventually(t, "the orphan unloaded", func() bool {
		return !r[1].loaded("cygnet-gre1-192.0.2.1")
	})
	if sas := again.SAs(); len(sas) != 1 {
		t.Errorf("the SA went with its connection: %+v", sas)
	}
	if out := r[1].swanctl("--list-sas"); !strings.Contains(out, "cygnet-gre1-192.0.2.1") {
		t.Errorf("charon has no SA:\n%s", out)
	}
}

// When an administrator runs swanctl --load-all, swanctl unloads every connection that is not in
// its files. The client loads the template again. SAs and the administrator's own connections stay.
func TestAdministratorLoadsAll(t *testing.T) {
	r, hub, spoke := pair(t)
	r[0].write("swanctl/swanctl.conf", `
	connections {
		site {
			remote_addrs = 192.0.2.77
			local { auth = psk
				id = r1.example.net }
			remote { auth = psk
				id = other.example.net }
			children { net { local_ts = 10.1.0.0/16
				remote_ts = 10.2.0.0/16 } }
		}
	}
	secrets {
		ike-site {
			id = other.example.net
			secret = "his"
		}
	}`)
	r[0].swanctl("--load-all")
	eventually(t, "the template again", func() bool { return r[0].loaded("cygnet-gre1") })
	if !r[0].loaded("site") {
		t.Error("the administrator's connection is gone")
	}
	if len(hub.SAs()) != 1 || len(spoke.SAs()) != 1 {
		t.Errorf("SAs are gone: %+v, %+v", hub.SAs(), spoke.SAs())
	}
	spoke.Close(r[0].key())
	spoke.down(r[0].key())
	spoke.up(r[0].key())
}

// When an administrator runs swanctl with --clear, charon drops the PSKs without an event. The end
// that dials loads its PSK again before its client reports a failure. The end that is dialled loads
// its PSK again together with the template, which --load-all unloads.
func TestAdministratorClearsSecrets(t *testing.T) {
	r, _, spoke := pair(t)
	r[1].write("swanctl/swanctl.conf", "")
	r[0].write("swanctl/swanctl.conf", "")
	r[1].swanctl("--load-creds", "--clear")
	spoke.Close(r[0].key())
	spoke.down(r[0].key())
	told := len(spoke.events)
	spoke.up(r[0].key())
	for _, e := range spoke.events[told:] {
		if failed, ok := e.(Failed); ok {
			t.Errorf("told %+v", failed)
		}
	}
	r[0].swanctl("--load-all", "--clear")
	eventually(t, "the template again", func() bool { return r[0].loaded("cygnet-gre1") })
	spoke.Close(r[0].key())
	spoke.down(r[0].key())
	spoke.up(r[0].key())
}

// Rekeying changes unique IDs and SPIs. The client does not report the peer as lost.
func TestRekey(t *testing.T) {
	r, hub, spoke := pair(t)
	before := spoke.SAs()[0]
	r[1].swanctl("--rekey", "--ike", before.Connection)
	eventually(t, "the new IKE_SA on both ends", func() bool {
		a, b := spoke.SAs(), hub.SAs()
		return len(a) == 1 && len(b) == 1 && a[0].InitiatorSPI != before.InitiatorSPI &&
			a[0].InitiatorSPI == b[0].InitiatorSPI
	})
	if got := spoke.SAs()[0].Children; len(got) != 1 || got[0].SPIIn != before.Children[0].SPIIn {
		t.Errorf("the child did not come along: %+v", got)
	}
	r[1].swanctl("--rekey", "--child", "gre")
	eventually(t, "the new CHILD_SA on both ends", func() bool {
		a, b := spoke.SAs()[0].Children, hub.SAs()[0].Children
		return len(a) == 1 && len(b) == 1 && a[0].SPIIn != before.Children[0].SPIIn &&
			a[0].SPIIn == b[0].SPIOut
	})
	spoke.Close(r[0].key())
	spoke.down(r[0].key())
	for _, e := range spoke.events[:len(spoke.events)-1] {
		if down, ok := e.(Down); ok {
			t.Errorf("told %+v", down)
		}
	}
}

// An SA from an address that the tunnel no longer uses protects nothing. The client closes that SA
// and makes a new one from the new address.
func TestLocalAddressChanges(t *testing.T) {
	r, _, spoke := pair(t)
	shell(t, "ip -n r2 addr add 192.0.2.22/24 dev eth0")
	moved := r[1].applied()
	moved.LocalAddrs = []netip.Addr{netip.MustParseAddr("192.0.2.22")}
	spoke.SetProfile(moved)
	spoke.down(r[0].key())
	spoke.up(r[0].key())
	eventually(t, "the old SA gone", func() bool {
		sas := spoke.SAs()
		return len(sas) == 1 && sas[0].LocalHost == moved.LocalAddrs[0]
	})
}

// With certificates, swanctl keeps and loads certificates and keys as usual. The profile only names
// an identity and the CA to trust.
func TestCertificates(t *testing.T) {
	r := routers(t, 2)
	ca := t.TempDir()
	shell(t, fmt.Sprintf(`cd %s
		pki --gen --type ed25519 --outform pem >ca.key
		pki --self --ca --type ed25519 --in ca.key --dn "CN=Lab CA" --outform pem >ca.crt`, ca))
	var w []*watch
	for _, r := range r {
		for _, dir := range []string{"x509", "x509ca", "private"} {
			shell(t, "mkdir -p "+r.dir+"/swanctl/"+dir)
		}
		shell(t, fmt.Sprintf(`cd %s
			pki --gen --type ecdsa --size 256 --outform pem >%[2]s/swanctl/private/router.pem
			pki --pub --type ecdsa --in %[2]s/swanctl/private/router.pem |
				pki --issue --cacert ca.crt --cakey ca.key --dn "CN=%[3]s" --san %[3]s.example.net --outform pem >%[2]s/swanctl/x509/router.pem
			cp ca.crt %[2]s/swanctl/x509ca/ca.pem`, ca, r.dir, r.name))
		p := r.applied()
		p.PSK, p.RemoteIdentity, p.CACerts = nil, "*.example.net",
			[]string{r.dir + "/swanctl/x509ca/ca.pem"}
		c := r.client()
		c.SetProfile(p)
		w = append(w, c)
		eventually(t, "the templates", func() bool { return r.loaded("cygnet-gre1") })
	}
	r[0].swanctl("--load-creds")
	w[1].Want(r[0].key(), Initiate)
	w[1].failed(r[0].key(), "private key")
	r[1].swanctl("--load-creds")
	if got := w[1].up(r[0].key()); got.Identity != "r1.example.net" {
		t.Errorf("the hub proved to be %q", got.Identity)
	}
	if got := w[0].up(r[1].key()); got.Identity != "r2.example.net" {
		t.Errorf("the spoke proved to be %q", got.Identity)
	}
}

// The hub's client knows a spoke behind NAT by the address that the hub sees. The SA is in
// transport mode, and both clients report the NAT.
func TestNAT(t *testing.T) {
	r := routers(t, 1)
	shell(t, `ip link add inside type bridge && ip link set inside up
		ip netns add nat
		ip link add u-nat type veth peer name out netns nat
		ip link add i-nat type veth peer name in netns nat
		ip link set u-nat master underlay up
		ip link set i-nat master inside up
		ip -n nat addr add 192.0.2.50/24 dev out
		ip -n nat addr add 192.168.7.1/24 dev in
		ip -n nat link set out up
		ip -n nat link set in up
		ip netns exec nat sysctl -qw net.ipv4.ip_forward=1
		ip netns exec nat iptables -t nat -A POSTROUTING -o out -j MASQUERADE`)
	t.Cleanup(func() { shell(t, "ip netns del nat; ip link del inside") })
	spoke := newRouter(t, "r2", "192.168.7.11", "inside")
	shell(t, "ip -n r2 route add default via 192.168.7.1")

	hubClient, spokeClient := r[0].client(), spoke.client()
	hubClient.SetProfile(r[0].applied())
	spokeClient.SetProfile(spoke.applied())
	eventually(t, "the hub's template", func() bool { return r[0].loaded("cygnet-gre1") })
	spokeClient.Want(r[0].key(), Initiate)
	if got, want := spokeClient.up(r[0].key()), (Peer{
		Interface: "gre1",
		NBMA:      r[0].addr,
		Identity:  "r1.example.net",
		Initiator: true,
		LocalNAT:  true,
	}); !got.Equal(want) {
		t.Errorf("the spoke: want %+v, have %+v", want, got)
	}
	outside := Key{Interface: "gre1", NBMA: netip.MustParseAddr("192.0.2.50")}
	if got, want := hubClient.up(outside), (Peer{
		Interface: "gre1",
		NBMA:      outside.NBMA,
		Identity:  "r2.example.net",
		RemoteNAT: true,
	}); !got.Equal(want) {
		t.Errorf("the hub: want %+v, have %+v", want, got)
	}
	if sa := hubClient.SAs()[0]; sa.Children[0].Mode != "TRANSPORT" || !sa.Children[0].Encap {
		t.Errorf("the hub's SA: %+v", sa)
	}
	hubClient.Close(outside)
	hubClient.down(outside)
	spokeClient.up(r[0].key())
}

// A stopped charon that continues later answers the requests of a peer that has given up in the
// meantime: it rekeys the IKE_SA, and the peer never deletes the old one. The client removes what
// is left.
func TestRekeyedByAPeerThatGaveUp(t *testing.T) {
	r, hub, spoke := pair(t)
	if err := r[0].charon.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	spoke.Probe([]uint32{spoke.SAs()[0].Children[0].SPIIn})
	spoke.down(r[0].key())
	if err := r[0].charon.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a rekeyed SA that is left", func() bool {
		return strings.Contains(r[0].swanctl("--list-sas"), "#1, REKEYED")
	})
	spoke.up(r[0].key())
	eventually(t, "one SA with one child in the hub's charon, which the spoke has, too",
		func() bool {
			a, b := hub.SAs(), spoke.SAs()
			return strings.Count(r[0].swanctl("--list-sas", "--raw"), "uniqueid=") == 2 &&
				len(a) == 1 && len(b) == 1 && a[0].InitiatorSPI == b[0].InitiatorSPI
		})
}
