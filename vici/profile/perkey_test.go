package profile

import (
	"net/netip"
	"strings"
	"testing"

	"cygnet/vici/ike"
	"cygnet/vici/message"
)

// perKey is the profile of gre1 with SAs for the key 42<<16 | 42, beside gre2 with 43<<16 | 43.
func perKey() Profile {
	p := testProfile()
	p.KeyPort, p.Beside = 42, []Keyed{{"gre2", 43}}
	return p
}

// Every connection of an interface with SAs for its key has a child for each interface beside it,
// with marks where routers share an address. It differs from the connections of the others, so that
// charon does not use their IKE_SAs, and a new IKE_SA ends none of theirs.
func TestConnectionsOfSAsPerKey(t *testing.T) {
	p := perKey()
	p.Hub = true
	for _, test := range []struct {
		rule   string
		peer   netip.Addr
		shared bool
	}{
		{"the template", netip.Addr{}, false},
		{"a connection that dials", netip.MustParseAddr("192.0.2.1"), false},
		{"a connection for routers behind one address", netip.MustParseAddr("192.0.2.1"), true},
	} {
		m, err := p.NewConnection(test.peer, test.shared)
		if err != nil {
			t.Fatalf("%s: %v", test.rule, err)
		}
		_, bodies := message.Sections(m)
		children, _ := message.Section(bodies[0], "children")
		for child, selector := range map[string]string{
			"gre-gre1": "dynamic[gre/42]", "gre-gre2": "dynamic[gre/43]",
		} {
			keys, ok := message.Section(children, child)
			if !ok {
				t.Errorf("%s has no child %s: %v", test.rule, child, children)
				continue
			}
			for _, side := range []string{"local_ts", "remote_ts"} {
				if got := strings.Join(message.Texts(keys, side), ","); got != selector {
					t.Errorf("%s: %s of %s is %q, want %q", test.rule, side, child, got, selector)
				}
			}
			if marked := message.Text(keys, "mark_in") == "%unique"; marked != test.shared {
				t.Errorf("%s: %s has a mark of its own: %v", test.rule, child, marked)
			}
		}
		local, _ := message.Section(bodies[0], "local")
		if got := message.Text(local, "xauth_id"); got != "gre-gre1" {
			t.Errorf("%s: it is like those of gre2: xauth_id is %q", test.rule, got)
		}
		if got := message.Text(bodies[0], "unique"); got != "never" {
			t.Errorf("%s: a new IKE_SA ends others: unique = %s", test.rule, got)
		}
	}
}

// An SA per key is accepted where it carries the key of its interface, and nothing else.
func TestRulesOfSAsPerKey(t *testing.T) {
	sa := func(port string, names ...string) *ike.SA {
		s := &ike.SA{State: "ESTABLISHED", LocalHost: netip.MustParseAddr("192.0.2.100"),
			RemoteHost: netip.MustParseAddr("192.0.2.1")}
		for i, name := range names {
			s.Children = append(s.Children, ike.Child{Name: name, ID: uint32(i + 1),
				State: "INSTALLED", Mode: "TRANSPORT",
				LocalTS:  []string{"192.0.2.100/32[gre" + port + "]"},
				RemoteTS: []string{"192.0.2.1/32[gre" + port + "]"}})
		}
		return s
	}
	shared := testProfile()
	for _, test := range []struct {
		rule  string
		p     Profile
		sa    *ike.SA
		wrong string // what the refusal has to name; empty: it is accepted
	}{
		{"its own key", perKey(), sa("/42", "gre-gre1"), ""},
		{"another key", perKey(), sa("/43", "gre-gre1"), "the GRE key 2752554 alone"},
		{"all GRE", perKey(), sa("", "gre"), "dynamic[gre/42]"},
		{"two overlays in one IKE_SA", perKey(), sa("/42", "gre-gre1", "gre-gre2"),
			"the SAs of gre1 and of gre2 in one IKE_SA"},
		{"one key where SAs are shared", shared, sa("/42", "gre"), `sa = "per-key"`},
		{"all GRE where SAs are shared", shared, sa("", "gre"), ""},
	} {
		rules := test.p.Rules()
		wrong := rules.Refuses(test.sa)
		if (wrong == "") != (test.wrong == "") || !strings.Contains(wrong, test.wrong) {
			t.Errorf("%s: refused for %q, want %q", test.rule, wrong, test.wrong)
		}
		if test.wrong == "" && !rules.Accepts(test.sa) {
			t.Errorf("%s: not accepted", test.rule)
		}
	}
}

// The oldest child tells of which interface an SA is, whichever connection charon chose.
func TestChildTellsTheInterface(t *testing.T) {
	for _, test := range []struct {
		rule, connection string
		children         []ike.Child
		want             string
	}{
		{"another interface's connection", "cygnet-gre1", []ike.Child{{Name: "gre-gre2", ID: 7}}, "gre2"},
		{"two children", "cygnet-gre1-192.0.2.1",
			[]ike.Child{{Name: "gre-gre1", ID: 8}, {Name: "gre-gre2", ID: 7}}, "gre2"},
		{"no child yet", "cygnet-gre1", nil, "gre1"},
		{"a child for all GRE", "cygnet-gre1", []ike.Child{{Name: "gre", ID: 7}}, "gre1"},
		{"somebody else's connection", "site", []ike.Child{{Name: "gre-gre2", ID: 7}}, ""},
	} {
		sa := &ike.SA{Connection: test.connection, Children: test.children}
		if Attribute(sa); sa.Interface != test.want {
			t.Errorf("%s: the SA is of %q, want %q", test.rule, sa.Interface, test.want)
		}
	}
}
