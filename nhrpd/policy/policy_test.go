package policy

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rule compiles one rule for a test.
func rule(t testing.TB, identity string, addresses, announce []string) Rule {
	t.Helper()
	p, err := ParsePattern(identity)
	if err != nil {
		t.Fatalf("%q: %v", identity, err)
	}
	parse := func(texts []string) []Template {
		var list []Template
		for _, text := range texts {
			tmpl, err := ParseTemplate(text, p.Captures())
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			list = append(list, tmpl)
		}
		return list
	}
	return Rule{
		Identity: p, Addresses: parse(addresses), Announce: parse(announce),
		Bounded: announce != nil, Shortcut: true, Source: "test:1",
	}
}

// One rule serves a thousand spokes, and it does not give spoke 17 the address of spoke 18.
func TestOneRuleForManySpokes(t *testing.T) {
	rules := New([]Rule{rule(t, "spoke-{n}.example.net", []string{"10.255.0.0+{n}"}, []string{"172.16.0.0/24+{n}"})})
	seen := make(map[netip.Addr]bool)
	for n := 1; n <= 1000; n++ {
		g := rules.Of(fmt.Sprintf("spoke-%d.example.net", n))
		if len(g.Addresses) != 1 || len(g.Announce) != 1 {
			t.Fatalf("spoke %d: %+v", n, g)
		}
		address := netip.AddrFrom4([4]byte{10, 255, byte(n >> 8), byte(n)})
		network := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(16 + n>>8), byte(n), 0}), 24)
		if !g.MayHave(address) || !g.MayAnnounce(network) || seen[address] {
			t.Errorf("spoke %d may have %v and announce %v", n, g.Addresses, g.Announce)
		}
		seen[address] = true
		if g.MayHave(address.Next()) || g.MayHave(address.Prev()) ||
			g.MayAnnounce(netip.MustParsePrefix("172.16.0.0/12")) {
			t.Errorf("spoke %d may be another", n)
		}
	}
}

// How captures expand to addresses and prefixes.
func TestTemplates(t *testing.T) {
	for _, c := range []struct {
		text string
		n    uint32
		want string // empty: there is no valid expansion
	}{
		{"10.255.0.{n}", 17, "10.255.0.17/32"},
		{"10.255.0.{n}", 256, ""},
		{"10.255.0.1{n}", 7, "10.255.0.17/32"},
		{"10.{n}.0.0/16", 17, "10.17.0.0/16"},
		{"172.16.{n}.0/20", 16, "172.16.16.0/20"},
		{"172.16.{n}.0/20", 17, ""},
		{"10.255.0.0+{n}", 300, "10.255.1.44/32"},
		{"255.255.255.0+{n}", 255, "255.255.255.255/32"},
		{"255.255.255.0+{n}", 256, ""},
		{"172.16.0.0/24+{n}", 300, "172.17.44.0/24"},
		{"172.16.0.0/22+{n}", 3, "172.16.12.0/22"},
		{"172.16.0.0/22+{n}", 999999999, ""},
		{"2001:db8::{n}", 17, "2001:db8::17/128"},
		{"2001:db8:{n}::/48", 17, "2001:db8:17::/48"},
		{"2001:db8::/48+{n}", 17, "2001:db8:11::/48"},
		{"2001:db8::+{n}", 65536, "2001:db8::1:0/128"},
		{"10.255.0.7", 17, "10.255.0.7/32"},
		{"10.255.0.0/24", 17, "10.255.0.0/24"},
	} {
		tmpl, err := ParseTemplate(c.text, []string{"n"})
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got, ok := tmpl.Expand([]Capture{{"n", c.n}})
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("%s for %d: %s %v", c.text, c.n, got, ok)
		}
	}
}

func TestTemplatesThatAreNone(t *testing.T) {
	for text, says := range map[string]string{
		"10.255.0":                 "is neither an address nor a prefix without bits beyond its length",
		"10.255.0.1/24":            "is neither an address nor a prefix without bits beyond its length",
		"fe80::1%eth0":             "is neither an address nor a prefix without bits beyond its length",
		"10.255.0.{m}":             "uses the capture {m} that the identity does not have",
		"10.255.0.0+{m}":           "uses the capture {m} that the identity does not have",
		"10.255.0.0/{n}":           "has a capture as the prefix length, which must be a number",
		"10.255.0.0+7":             "behind a + stands one capture and nothing else, such as 10.255.0.0+{n}",
		"10.255.{n}.0+{n}":         "behind a + stands one capture and nothing else, such as 10.255.0.0+{n}",
		"10.255.0.{n":              "has a { without its }",
		"10.255.0.n}":              "has a } without its {",
		"10.255.{n}0.{n}{n}{n}{n}": "gives no address or prefix, whatever the captures are",
		"10.{n}/16":                "gives no address or prefix, whatever the captures are",
	} {
		if _, err := ParseTemplate(text, []string{"n"}); err == nil || err.Error() != says {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

// The first rule that matches decides alone, whether it is literal or a pattern, and whatever a
// later rule would permit.
func TestFirstRuleDecides(t *testing.T) {
	rules := New([]Rule{
		rule(t, "hub.example.net", []string{"10.255.0.1"}, nil),
		rule(t, "spoke-{n}.example.net", []string{"10.255.0.{n}"}, nil),
		rule(t, "spoke-7.example.net", []string{"10.255.0.77"}, nil),
		rule(t, "*.example.net", nil, nil),
		rule(t, "late.example.net", []string{"10.255.0.99"}, nil),
	})
	for identity, want := range map[string]string{
		"hub.example.net":     "10.255.0.1",
		"HUB.example.net":     "10.255.0.1",
		"spoke-7.example.net": "10.255.0.7",
		"late.example.net":    "nothing",
		"other.example.net":   "nothing",
	} {
		g := rules.Of(identity)
		if g.Rule == nil || Texts(g.Addresses) != want {
			t.Errorf("%s: %v %s, want %s", identity, g.Rule, Texts(g.Addresses), want)
		}
	}
	if g := rules.Of("spoke-7.example.org"); g.Rule != nil ||
		g.MayHave(netip.MustParseAddr("10.255.0.7")) || g.MayAnnounce(netip.MustParsePrefix("172.16.0.0/24")) {
		t.Errorf("an identity without a rule: %+v", g)
	}
}

// Without announce, a rule leaves the decision to what the interface accepts. With announce, the
// identity may announce at most what is in it.
func TestAnnounce(t *testing.T) {
	free := New([]Rule{rule(t, "*", nil, nil)}).Of("a")
	none := New([]Rule{rule(t, "*", nil, []string{})}).Of("a")
	some := New([]Rule{rule(t, "*", nil, []string{"172.16.0.0/16"})}).Of("a")
	for prefix, want := range map[string][3]bool{
		"172.16.0.0/16": {true, false, true},
		"172.16.1.0/24": {true, false, true},
		"172.16.0.0/12": {true, false, false},
		"10.0.0.0/24":   {true, false, false},
	} {
		p := netip.MustParsePrefix(prefix)
		got := [3]bool{free.MayAnnounce(p), none.MayAnnounce(p), some.MayAnnounce(p)}
		if got != want {
			t.Errorf("%s: without, none, some %v, want %v", prefix, got, want)
		}
	}
}

// Rules are equal wherever they are written in the file. Their order counts.
func TestEqual(t *testing.T) {
	a, b := rule(t, "a", []string{"10.255.0.1"}, nil), rule(t, "b", []string{"10.255.0.2"}, nil)
	moved := a
	moved.Source = "test:9"
	if !New([]Rule{a, b}).Equal(New([]Rule{moved, b})) ||
		New([]Rule{a, b}).Equal(New([]Rule{b, a})) ||
		New([]Rule{a}).Equal(nil) || !New(nil).Equal(nil) {
		t.Error("rules compare otherwise")
	}
	if d := cmp.Diff(New([]Rule{a, b}), New([]Rule{moved, b})); d != "" {
		t.Error(d)
	}
}

// The time of a look-up does not grow with the number of literal rules.
func BenchmarkOf(b *testing.B) {
	for _, count := range []int{1, 1000} {
		var list []Rule
		for i := range count {
			list = append(list, rule(b, fmt.Sprintf("literal%d.example.net", i), []string{"10.255.0.1"}, nil))
		}
		rules := New(append(list,
			rule(b, "spoke-{n}.example.net", []string{"10.255.0.0+{n}"}, nil)))
		b.Run(fmt.Sprint(count+1, " rules"), func(b *testing.B) {
			for b.Loop() {
				rules.Of("spoke-700.example.net")
			}
		})
	}
}
