package snmp

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/packet"
)

var update = flag.Bool("update", false, "write the files in testdata anew")

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func in(d time.Duration) time.Time { return now.Add(d) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func subnet(s ...string) (all []netip.Prefix) {
	for _, p := range s {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// hub is a hub of two overlay families with three clients, one behind NAT, and a static map.
func hub() *api.Status {
	return &api.Status{Now: now, Started: in(-time.Hour), Interfaces: []api.Interface{{
		Name: "gre1", Index: 7, Up: true, MTU: 1400, NBMA: addr("198.51.100.1"),
		Address: subnet("10.255.0.1/24")[0], Addresses: subnet("10.255.0.1/24", "fd00::1/64"),
		Bindings: []api.Binding{
			{Protocol: addr("10.255.0.11"), NBMA: addr("198.51.100.11"), Unique: true,
				Secured: true, MTU: 1376, Prefixes: subnet("172.16.1.0/24", "172.16.0.0/16"),
				Expires: in(90 * time.Minute)},
			{Protocol: addr("10.255.0.12"), NBMA: addr("203.0.113.9"), Mark: 3,
				ClientNBMA: addr("192.168.7.2"), Expires: in(1500 * time.Millisecond)},
			{Protocol: addr("10.255.0.13"), NBMA: addr("198.51.100.13"), Static: true,
				Secured: true},
			{Protocol: addr("fd00::11"), NBMA: addr("2001:db8::11"), Secured: true,
				Expires: in(-time.Second)},
		},
		Peers: []api.Peer{
			{NBMA: addr("198.51.100.11"), State: api.PeerSecured, Admitted: true},
			{NBMA: addr("203.0.113.9"), State: api.PeerSecuring},
		},
	}}, Counters: api.Counters{
		Received: map[string]uint64{"registration request": 40, "resolution request": 3},
		Sent:     map[string]uint64{"resolution request": 2, "registration reply": 1<<32 + 40},
		Dropped:  map[string]uint64{"data: not admitted": 5, "no such protocol": 2},
		Served: map[string]uint64{packet.CodeSuccess.String(): 31,
			packet.CodeProhibited.String(): 4, packet.CodeInsufficientResources.String(): 3,
			packet.CodeUniqueRegistered.String(): 2},
	}}
}

// spoke is a spoke with two next hop servers and three shortcuts, and an interface that has no
// device.
func spoke() *api.Status {
	hub := api.NHS{Name: "hub.example.net", Protocol: addr("10.255.0.1"),
		NBMA: addr("198.51.100.1"), State: api.NHSRegistered, Use: api.NHSUseInUse,
		Registered: in(-time.Minute), Expires: in(29 * time.Minute)}
	hub.Registrations = []api.Registration{{Address: addr("10.255.0.11"), Protocol: hub.Protocol,
		State: hub.State, Registered: hub.Registered, Expires: hub.Expires}}
	return &api.Status{Now: now, Started: in(-time.Hour), Interfaces: []api.Interface{{
		Name: "gre1", Index: 3, Up: true, MTU: 1400, NBMA: addr("198.51.100.11"),
		Address: subnet("10.255.0.11/24")[0],
		NHS: []api.NHS{hub, {Name: "other.example.net", State: api.NHSUnresolved,
			Use: api.NHSUseConnecting}},
		Shortcuts: []api.Shortcut{
			{Prefix: subnet("172.16.2.0/24")[0], NextHop: addr("10.255.0.12"),
				NBMA: addr("203.0.113.9"), State: api.ShortcutUp, MTU: 1300,
				Expires: in(time.Hour * 24)},
			{Prefix: subnet("172.16.3.9/32")[0], State: api.ShortcutResolving},
			{Prefix: subnet("172.16.4.9/32")[0], State: api.ShortcutImpossible,
				Expires: in(time.Minute)},
		},
	}, {Name: "gre2", Address: subnet("10.254.0.11/24")[0], NHS: []api.NHS{hub}}},
		Counters: api.Counters{
			Received: map[string]uint64{"purge request": 1},
			Sent: map[string]uint64{"registration request": 9, "resolution request": 6,
				"purge reply": 1},
			Registered: map[string]uint64{packet.CodeSuccess.String(): 8},
		}}
}

// names has the names of the MIB's columns, table by table.
var names = map[string]string{
	"1": "nhrpNextIndex",
	"1.2.1": "nhrpCache InternetworkAddrType InternetworkAddr Index PrefixLength " +
		"NextHopInternetworkAddr NbmaAddrType NbmaAddr NbmaSubaddr Type State " +
		"HoldingTimeValid HoldingTime NegotiatedMtu Preference StorageType RowStatus",
	"2.1.1": "nhrpClient Index InternetworkAddrType InternetworkAddr NbmaAddrType NbmaAddr " +
		"NbmaSubaddr InitialRequestTimeout RegistrationRequestRetries " +
		"ResolutionRequestRetries PurgeRequestRetries DefaultMtu HoldTime RequestID " +
		"StorageType RowStatus",
	"2.2.1": "nhrpClientReg Index Uniqueness State RowStatus",
	"2.3.1": "nhrpClientNhs Index InternetworkAddrType InternetworkAddr NbmaAddrType NbmaAddr " +
		"NbmaSubaddr InUse RowStatus",
	"2.4.1": "nhrpClientStat TxResolveReq RxResolveReplyAck RxResolveReplyNakProhibited " +
		"RxResolveReplyNakInsufResources RxResolveReplyNakNoBinding RxResolveReplyNakNotUnique " +
		"TxRegisterReq RxRegisterAck RxRegisterNakProhibited RxRegisterNakInsufResources " +
		"RxRegisterNakAlreadyReg RxPurgeReq TxPurgeReq RxPurgeReply TxPurgeReply " +
		"TxErrorIndication",
	"3.1.1": "nhrpServer Index InternetworkAddrType InternetworkAddr NbmaAddrType NbmaAddr " +
		"NbmaSubaddr StorageType RowStatus",
	"3.2.1": "nhrpServerCache Authoritative Uniqueness",
	"3.3.1": "nhrpServerNhc Index PrefixLength InternetworkAddrType InternetworkAddr " +
		"NbmaAddrType NbmaAddr NbmaSubaddr InUse RowStatus",
	"3.4.1": "nhrpServerStat RxResolveReq TxResolveReplyAck TxResolveReplyNakProhibited " +
		"TxResolveReplyNakInsufResources TxResolveReplyNakNoBinding " +
		"TxResolveReplyNakNotUnique RxRegisterReq TxRegisterAck TxRegisterNakProhibited " +
		"TxRegisterNakInsufResources TxRegisterNakAlreadyReg RxPurgeReq TxPurgeReq " +
		"RxPurgeReply TxPurgeReply RxErrUnrecognizedExtension RxErrLoopDetected " +
		"RxErrProtoAddrUnreachable RxErrProtoError RxErrSduSizeExceeded RxErrInvalidExtension " +
		"RxErrInvalidResReplyReceived RxErrAuthenticationFailure RxErrHopCountExceeded " +
		"TxErrUnrecognizedExtension TxErrLoopDetected TxErrProtoAddrUnreachable TxErrProtoError " +
		"TxErrSduSizeExceeded TxErrInvalidExtension TxErrAuthenticationFailure " +
		"TxErrHopCountExceeded FwResolveReq",
}

// name returns the name of the MIB for an object, with the index behind it.
func name(oid OID) string {
	rest := strings.TrimPrefix(oid.String(), root.String()+".")
	if index, found := strings.CutPrefix(rest, "1.1."); found {
		return names["1"] + "." + index
	}
	parts := strings.SplitN(rest, ".", 5)
	words := strings.Fields(names[strings.Join(parts[:3], ".")])
	return words[0] + words[oid[len(root)+3]] + "." + parts[4]
}

// walk returns all objects, one a line.
func walk(tree *Tree) string {
	var text strings.Builder
	for oid, v, ok := tree.Next(root); ok; oid, v, ok = tree.Next(oid) {
		line := fmt.Sprintf("    %s = %s: %s", oid, v.Kind, v.text())
		text.WriteString(name(oid) + "\n" + strings.TrimRight(line, " ") + "\n")
	}
	return text.String()
}

// A walk shows these objects, under the identifiers and with the types of RFC 2677.
func TestObjects(t *testing.T) {
	for file, status := range map[string]*api.Status{"hub": hub(), "spoke": spoke()} {
		got, path := walk(NHRP(status)), "testdata/"+file+".txt"
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", file, diff)
		}
	}
}

// A router that is client and server does not tell the packets of the one from those of the other,
// and has no objects for them.
func TestCountersOfBothRoles(t *testing.T) {
	s := spoke()
	s.Interfaces[0].Bindings = hub().Interfaces[0].Bindings
	tree := NHRP(s)
	for _, test := range []struct {
		oid  string
		want bool
	}{
		{".2.4.1.7.6", true}, {".2.4.1.8.6", true}, {".2.4.1.1.6", false},
		{".2.4.1.12.6", false}, {".3.4.1.7.6", true}, {".3.4.1.1.6", true},
		{".3.4.1.8.6", false}, // this daemon does not tell
		{".3.4.1.33.6", false},
	} {
		oid, err := ParseOID(root.String() + test.oid)
		if err != nil {
			t.Fatal(err)
		}
		if _, found := tree.Get(oid); found != test.want {
			t.Errorf("%s is there: %t, want %t", name(oid), found, test.want)
		}
	}
}

// Clients whose addresses end in the same 32 bits have rows of their own, with numbers from 1 on.
func TestNumbersOfClients(t *testing.T) {
	numbers, got := clientNumbers{}, []uint32(nil)
	for _, a := range []string{"fd00::1", "fd00::1:0:0:1", "fd00::2", "fd00::1:0:0:0"} {
		got = append(got, numbers.of(addr(a)))
	}
	if want := []uint32{1, 2, 3, 4}; !slices.Equal(got, want) {
		t.Errorf("the numbers are %d, want %d", got, want)
	}
}

// For any identifier, Get finds what there is, and Next the first object after it.
func TestGetAndNext(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, status := range []*api.Status{hub(), spoke(), {}} {
		tree := NHRP(status)
		var all []OID
		values := map[string]Value{}
		for i := range tree.tables {
			for c, column := range tree.tables[i].columns {
				for _, r := range tree.tables[i].rows {
					if r.cells[c].Kind != "" {
						oid := tree.tables[i].entry.with(column).with(r.index...)
						all, values[oid.key()] = append(all, oid), r.cells[c]
					}
				}
			}
		}
		slices.SortFunc(all, func(a, b OID) int { return slices.Compare(a, b) })
		for range 20000 {
			oid := slices.Clone(all[random.IntN(len(all))])
			switch random.IntN(4) {
			case 0:
				oid = oid[:random.IntN(len(oid))]
			case 1:
				oid[random.IntN(len(oid))] += random.Uint32N(3) - 1
			case 2:
				oid = append(oid, random.Uint32N(2))
			}
			wanted, is := values[oid.key()]
			if v, found := tree.Get(oid); found != is || v != wanted {
				t.Fatalf("Get(%s) is %v, %t, want %v, %t", oid, v, found, wanted, is)
			}
			place, is := slices.BinarySearchFunc(all, oid, func(a, b OID) int {
				return slices.Compare(a, b)
			})
			if is {
				place++
			}
			next, _, found := tree.Next(oid)
			if found != (place < len(all)) || found && !slices.Equal(next, all[place]) {
				t.Fatalf("Next(%s) is %s, %t; it is number %d of %d", oid, next, found, place,
					len(all))
			}
		}
	}
}

// The figures are these, in this order: snmpd numbers the lines.
func TestFigures(t *testing.T) {
	s := hub()
	s.Problems = []api.Problem{{Severity: api.SeverityWarning}, {Severity: api.SeverityError},
		{Severity: api.SeverityWarning}}
	s.StrongSwan.Connected = true
	s.SAs = make([]api.SA, 4)
	want := fmt.Sprintf(`errors 1
warnings 2
started %d
strongswan 1
interfaces-up 1
interfaces 1
nhs-registered 0
clients 3
peers-secured 1
peers-admitted 1
peers 2
shortcuts-up 0
sas 4
received 43
sent %d
dropped 2
data-dropped 5
kernel-failing 0
`, in(-time.Hour).Unix(), uint64(1<<32+42))
	if diff := cmp.Diff(want, Figures(s)); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	if got := strings.Count(Figures(spoke()), "\n"); got != strings.Count(want, "\n") {
		t.Errorf("another router has %d lines", got)
	}
}

// cygnet(1) names every figure, in its order.
func TestManPageHasEveryFigure(t *testing.T) {
	page, err := os.ReadFile("../../packaging/man/cygnet.1")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "\n.It Ic snmp ")
	rest, _, _ = strings.Cut(rest, "\n.It Ic ")
	for line := range strings.Lines(Figures(hub())) {
		name, _, _ := strings.Cut(line, " ")
		_, after, found := strings.Cut(rest, name)
		if !found {
			t.Fatalf("cygnet(1) does not name %s, or not in its place", name)
		}
		rest = after
	}
}

// crowd is a hub with n clients.
func crowd(n int) *api.Status {
	s := hub()
	bindings := make([]api.Binding, n)
	for i := range bindings {
		bindings[i] = api.Binding{
			Protocol: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}),
			NBMA:     netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}),
			Secured:  true, Expires: in(time.Hour),
		}
	}
	s.Interfaces[0].Bindings = bindings
	return s
}

// BenchmarkWalk walks through all objects of hubs of two sizes. The cost of an object must not grow
// with their number as it would if each step searched all of them.
func BenchmarkWalk(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			tree, objects := NHRP(crowd(n)), 0
			for b.Loop() {
				for oid, _, ok := tree.Next(root); ok; oid, _, ok = tree.Next(oid) {
					objects++
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(objects), "ns/object")
		})
	}
}

// BenchmarkNHRP makes the objects of a hub with 10,000 clients.
func BenchmarkNHRP(b *testing.B) {
	s := crowd(10000)
	b.ReportAllocs()
	for b.Loop() {
		NHRP(s)
	}
}
