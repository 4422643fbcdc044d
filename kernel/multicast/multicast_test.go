package multicast

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func peer(outer string, mark uint32) Peer {
	return Peer{Outer: netip.MustParseAddr(outer), Mark: mark}
}

// A change that is not possible, or for which there is no room, leaves the others.
func TestListRefusesImpossiblePeers(t *testing.T) {
	var l list
	err := l.change([]Change{
		{Peer: peer("192.0.2.1", 0)}, {Peer: peer("2001:db8::1", 0)},
		{Peer: peer("224.0.0.5", 0)}, {Peer: peer("0.0.0.1", 0)},
		{Peer: peer("127.0.0.1", 0)}, {Peer: peer("255.255.255.255", 0)},
		{Peer: peer("::ffff:192.0.2.7", 0)}, {Peer: Peer{}}, {Peer: peer("192.0.2.1", 7)},
	}, 10)
	if !errors.Is(err, errPeer) || errors.Is(err, errTooMany) {
		t.Errorf("the error is %v", err)
	}
	if want := []Peer{peer("192.0.2.1", 0), peer("192.0.2.1", 7)}; !slices.Equal(l.peers, want) {
		t.Errorf("the list is %v, want %v", l.peers, want)
	}
	err = l.change([]Change{
		{Peer: peer("192.0.2.2", 0)}, {Peer: peer("192.0.2.1", 0)},
		{Peer: peer("192.0.2.1", 0), Delete: true},
		{Peer: peer("192.0.2.3", 0)},
	}, 2)
	if !errors.Is(err, errTooMany) {
		t.Errorf("the error is %v", err)
	}
	if want := []Peer{peer("192.0.2.1", 7), peer("192.0.2.3", 0)}; !slices.Equal(l.peers, want) {
		t.Errorf("the list is %v, want %v", l.peers, want)
	}
}

// Whatever changes come, the list has each wanted peer once, and a change of one peer moves no more
// than one other.
func FuzzList(f *testing.F) {
	f.Add([]byte{1, 2, 3, 0x81, 4, 1, 0x83})
	f.Fuzz(func(t *testing.T, steps []byte) {
		var l list
		wanted := make(map[Peer]bool)
		for _, step := range steps {
			c := Change{Delete: step&0x80 != 0}
			c.Peer.Outer = netip.AddrFrom4([4]byte{192, 0, 2, step & 0x3f})
			c.Peer.Mark = uint32(step >> 6 & 1)
			before, changes := slices.Clone(l.peers), l.changes
			if err := l.change([]Change{c}, 64); err != nil && len(before) < 64 {
				t.Fatal(err)
			} else if err == nil && c.Delete {
				delete(wanted, c.Peer)
			} else if err == nil {
				wanted[c.Peer] = true
			}
			moved := 0
			for i := range min(len(before), len(l.peers)) {
				if before[i] != l.peers[i] {
					moved++
				}
			}
			if moved > 1 || (l.changes == changes) != slices.Equal(before, l.peers) {
				t.Fatalf("%+v changed %v to %v", c, before, l.peers)
			}
		}
		have := make(map[Peer]bool)
		for i, p := range l.peers {
			have[p] = true
			if l.places[p] != i {
				t.Fatalf("%v is at %d, not at %d", p, i, l.places[p])
			}
		}
		if len(have) != len(l.peers) || len(l.places) != len(l.peers) ||
			!cmp.Equal(have, wanted, compareAddr) {
			t.Fatalf("the list is %v, wanted is %v", l.peers, wanted)
		}
		if entries := l.entries(); len(entries) != len(l.peers) {
			t.Fatalf("%d entries for %d peers", len(entries), len(l.peers))
		}
	})
}

var compareAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// A Config is refused if it cannot be carried out.
func TestConfigIsChecked(t *testing.T) {
	of := func(allow, deny string) Config {
		return Config{Groups: Groups{
			Allow: []netip.Prefix{netip.MustParsePrefix(allow)},
			Deny:  []netip.Prefix{netip.MustParsePrefix(deny)},
		}}
	}
	many := Config{}
	for i := range MaxPrefixes + 1 {
		many.Groups.Deny = append(many.Groups.Deny,
			netip.PrefixFrom(netip.AddrFrom4([4]byte{239, 0, byte(i >> 8), byte(i)}), 32))
	}
	for name, test := range map[string]struct {
		cfg     Config
		refused bool
	}{
		"nothing":                 {Config{}, false},
		"both families":           {of("239.1.1.0/24", "ff05::/16"), false},
		"one within the other":    {of("239.1.1.0/24", "224.0.0.0/4"), false},
		"allowed and denied":      {of("239.1.1.0/24", "239.1.1.7/24"), true},
		"no group":                {of("10.0.0.0/8", "ff05::/16"), true},
		"more than groups":        {of("224.0.0.0/3", "ff05::/16"), true},
		"more than IPv6 groups":   {of("239.1.1.0/24", "fe00::/7"), true},
		"a mapped address":        {of("::ffff:239.1.1.1/128", "ff05::/16"), true},
		"too many prefixes":       {many, true},
		"too many peers":          {Config{MaxPeers: MaxPeers + 1}, true},
		"a rate below 0":          {Config{Rate: Rate{Bytes: -1}}, true},
		"a rate":                  {Config{Rate: Rate{Packets: 1, Bytes: 1 << 40}}, false},
		"as many peers as it can": {Config{MaxPeers: MaxPeers}, false},
	} {
		if err := test.cfg.check(); errors.Is(err, errConfig) != test.refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The longest prefix decides, whatever the order of the lists. Others pass unless some are allowed.
func TestLongestPrefixDecides(t *testing.T) {
	of := func(all ...string) (list []netip.Prefix) {
		for _, p := range all {
			list = append(list, netip.MustParsePrefix(p))
		}
		return list
	}
	for _, test := range []struct {
		name   string
		groups Groups
		group  string
		want   bool
	}{
		{"no rule", Groups{}, "239.1.1.1", true},
		{"no rule, IPv6", Groups{}, "ff05::1", true},
		{"denied", Groups{Deny: of("239.1.1.9/24")}, "239.1.1.1", false},
		{"beside what is denied", Groups{Deny: of("239.1.1.0/24")}, "239.1.2.1", true},
		{"of the other family", Groups{Deny: of("224.0.0.0/4")}, "ff05::1", true},
		{"allowed", Groups{Allow: of("ff05::1/16")}, "ff05::7:7", true},
		{"not allowed", Groups{Allow: of("ff05::/16")}, "239.1.1.1", false},
		{"allowed within denied", Groups{
			Allow: of("239.1.1.1/32"), Deny: of("224.0.0.0/4", "239.1.0.0/16"),
		}, "239.1.1.1", true},
		{"denied within allowed", Groups{
			Allow: of("224.0.0.0/4"), Deny: of("239.1.0.0/16"),
		}, "239.1.1.1", false},
		{"a group of one", Groups{Deny: of("ff02::5/128")}, "ff02::5", false},
		{"its neighbour", Groups{Deny: of("ff02::5/128")}, "ff02::4", true},
	} {
		rules, err := test.groups.rules()
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got := passes(&rules, netip.MustParseAddr(test.group)); got != test.want {
			t.Errorf("%s: %s passes: %v", test.name, test.group, got)
		}
	}
}

// A chain has one filter for each 512 peers, and at least one. Chains in the two slots do not meet.
func TestChainIsAsLongAsTheListNeeds(t *testing.T) {
	for peers, want := range map[int]int{
		0: 1, 1: 1, 512: 1, 513: 2, 8000: 16, MaxPeers: maxFilters,
	} {
		if got := filtersFor(peers); got != want {
			t.Errorf("%d peers need %d filters, want %d", peers, got, want)
		}
	}
	last := frontSlot.copies("gre1", 1, maxFilters)
	if !frontSlot.has(last.Priority) || backSlot.has(last.Priority) ||
		last.Priority >= uint16(backSlot) || frontSlot.other() != backSlot ||
		backSlot.other() != frontSlot {
		t.Errorf("the last filter of the front slot has priority %x", last.Priority)
	}
}

// The first packets of a second take what a rate has, and no more: cost and burst are such that the
// packet at which a second's worth is ahead finds no room.
func TestRateIsOneSecondsWorth(t *testing.T) {
	for _, perSecond := range []int{1, 3, 10, 1000, 999_983, int(time.Second), 1 << 40} {
		taken, ahead := 0, uint64(0)
		for ahead <= burst(perSecond) && taken < 2000 {
			ahead += cost(perSecond)
			taken++
		}
		if want := min(perSecond, 2000); taken < want || taken > want+1 {
			t.Errorf("of a rate of %d there are %d at once", perSecond, taken)
		}
	}
	if cost(0) != 0 || burst(0) != 0 {
		t.Error("without a limit there is a cost")
	}
}

// frameOf returns a packet with its outer header, as it leaves a tunnel with a key.
func frameOf(inner []byte, kind uint16) []byte {
	frame := append(make([]byte, ipv4Header), 0x20, 0, byte(kind>>8), byte(kind), 0, 0, 0, 42)
	frame[0] = 0x45
	return append(frame, inner...)
}

// innerPacket returns the header of a packet from a source to a group, and four bytes more.
func innerPacket(source, group string, protocol byte) []byte {
	from, to := netip.MustParseAddr(source), netip.MustParseAddr(group)
	if from.Is6() {
		b := append([]byte{0x60, 0, 0, 0, 0, 4, protocol, 1}, from.AsSlice()...)
		return append(append(b, to.AsSlice()...), redirect-1, 0, 0, 0)
	}
	b := append([]byte{0x45, 0, 0, 24, 0, 0, 0, 0, 1, protocol, 0, 0}, from.AsSlice()...)
	return append(append(b, to.AsSlice()...), 0, 0, 0, 0)
}

// User space decides by the same rules as the programs.
func TestUserSpaceDecides(t *testing.T) {
	const ospf, icmpv6 = 89, 58
	g := Groups{
		Allow: []netip.Prefix{
			netip.MustParsePrefix("ff00::/8"), netip.MustParsePrefix("224.0.0.0/4"),
		},
		Deny: []netip.Prefix{netip.MustParsePrefix("239.2.0.0/16")},
	}
	rules, err := g.rules()
	if err != nil {
		t.Fatal(err)
	}
	u := &userSpace{
		cfg: &Config{Groups: g, Rate: Rate{Packets: 2}}, groups: rules,
		owned: func() map[netip.Addr]bool {
			return map[netip.Addr]bool{
				netip.MustParseAddr("10.0.0.1"): true, netip.MustParseAddr("fe80::1"): true,
			}
		},
	}
	now := time.Unix(1000, 0)
	for _, test := range []struct {
		name  string
		inner []byte
		after time.Duration
		to    bool // it goes to a group
		want  *uint64
	}{
		{"a hello", innerPacket("10.0.0.1", "224.0.0.5", ospf), 0, true, nil},
		{"another", innerPacket("fe80::1", "ff02::5", ospf), 0, true, nil},
		{"one too many", innerPacket("10.0.0.1", "224.0.0.5", ospf), 0, true, &u.stats.OverRate},
		{"data has its own rate", innerPacket("10.0.0.1", "239.1.1.1", 17), 0, true, nil},
		{"later", innerPacket("10.0.0.1", "224.0.0.5", ospf), time.Second, true, nil},
		{"denied", innerPacket("10.0.0.1", "239.2.1.1", 17), 0, true, &u.stats.Filtered},
		{"forwarded", innerPacket("10.0.0.9", "239.1.1.1", 17), 0, true, &u.stats.Returned},
		{"a query", innerPacket("0.0.0.0", "224.0.0.1", 2), 0, true, nil},
		{"discovery", innerPacket("fe80::1", "ff02::1", icmpv6), 0, true, &u.stats.Discovery},
		{"to one host", innerPacket("10.0.0.1", "10.0.0.2", 17), 0, false, nil},
	} {
		now = now.Add(test.after)
		kind := uint16(0x0800)
		if test.inner[0]>>4 == 6 {
			kind = 0x86dd
		}
		p, ok := parseFrame(frameOf(test.inner, kind))
		if ok != test.to {
			t.Errorf("%s: to a group: %v", test.name, ok)
		}
		if !ok {
			continue
		}
		if got := u.decide(&p, 100, now); got != test.want {
			t.Errorf("%s: another verdict than wanted (%+v)", test.name, p)
		}
	}
}

// The parser does not panic, whatever a frame claims, and reads only groups.
func FuzzParseFrame(f *testing.F) {
	f.Add(frameOf(innerPacket("10.0.0.1", "224.0.0.5", 89), 0x0800))
	f.Add(frameOf(innerPacket("fe80::1", "ff02::5", 89), 0x86dd))
	denied := Groups{Deny: []netip.Prefix{netip.MustParsePrefix("239.0.0.0/8")}}
	rules, err := denied.rules()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := slices.Clone(frame)
		p, ok := parseFrame(frame)
		if ok && (!p.group.IsMulticast() || len(p.inner) < ipv4Header) {
			t.Errorf("read %+v", p)
		}
		if ok {
			denied := p.group.Is4() && p.group.As4()[0] == 239
			if passes(&rules, p.group) == denied {
				t.Errorf("%s passes: %v", p.group, !denied)
			}
		}
		if !slices.Equal(before, frame) {
			t.Error("the parser wrote into the frame")
		}
	})
}
