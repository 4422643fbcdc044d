package sagroup

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"cygnet/nhrpd/config"
	"cygnet/vici/profile"
)

// strongSwan records what it is told.
type strongSwan struct{ told []string }

func (s *strongSwan) SetProfile(p profile.Profile) {
	text := fmt.Sprintf("set %s from %s hub %v marks %v SAs %d",
		p.Interface, p.LocalAddrs[0], p.Hub, p.Marks, p.MaxSAs)
	for i, b := range p.Beside {
		if i == 0 {
			text += " beside"
		}
		text += fmt.Sprintf(" %s/%d", b.Interface, b.KeyPort)
	}
	s.told = append(s.told, text)
}
func (s *strongSwan) RemoveProfile(group string) { s.told = append(s.told, "remove "+group) }
func (s *strongSwan) Report(group string)        { s.told = append(s.told, "report "+group) }

// want fails the test if strongSwan was told something else since the last call.
func (s *strongSwan) want(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(s.told, want) {
		t.Errorf("strongSwan was told %q, want %q", s.told, want)
	}
	s.told = nil
}

// on returns the configuration of interfaces on devices, such as "gre1", "eth0".
func on(pairs ...string) *config.Config {
	c := &config.Config{}
	for i := 0; i < len(pairs); i += 2 {
		c.Interfaces = append(c.Interfaces, config.Interface{
			Name: pairs[i], Protected: true, Underlay: config.Underlay{Device: pairs[i+1]}})
	}
	return c
}

// of returns a profile of an interface.
func of(iface string, change func(*profile.Profile)) profile.Profile {
	p := profile.Profile{Interface: iface, MaxSAs: 2, Marks: true,
		LocalAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	if change != nil {
		change(&p)
	}
	return p
}

// The name of a group lasts as long as the group has the same underlay, whatever interfaces it has,
// and over a restart of the daemon.
func TestNamesLast(t *testing.T) {
	for _, test := range []struct {
		rule   string
		saved  map[string]string
		states []*config.Config // one after the other
		want   map[string]string
	}{
		{"an interface alone is its own group", nil,
			[]*config.Config{on("gre1", "eth0", "gre2", "eth1")},
			map[string]string{"gre1": "gre1", "gre2": "gre2"}},
		{"interfaces on one underlay are one group", nil,
			[]*config.Config{on("gre1", "eth0", "gre2", "eth0")},
			map[string]string{"gre1": "gre1", "gre2": "gre1"}},
		{"an interface joins", nil,
			[]*config.Config{on("gre2", "eth0"), on("gre1", "eth0", "gre2", "eth0")},
			map[string]string{"gre1": "gre2", "gre2": "gre2"}},
		{"the one with the name of the group goes", nil,
			[]*config.Config{on("gre1", "eth0", "gre2", "eth0"), on("gre2", "eth0")},
			map[string]string{"gre2": "gre1"}},
		{"and comes back elsewhere", nil,
			[]*config.Config{on("gre1", "eth0", "gre2", "eth0"), on("gre2", "eth0"),
				on("gre1", "eth1", "gre2", "eth0")},
			map[string]string{"gre1": "gre1.2", "gre2": "gre1"}},
		{"the underlay of an interface alone changes", nil,
			[]*config.Config{on("gre1", "eth0", "gre2", "eth0"), on("gre2", "eth0"),
				on("gre2", "eth1")},
			map[string]string{"gre2": "gre1"}},
		{"the daemon is restarted", map[string]string{"gre2": "gre1"},
			[]*config.Config{on("gre2", "eth0")},
			map[string]string{"gre2": "gre1"}},
		{"the last run knew nothing of groups", map[string]string{"gre1": "", "gre2": ""},
			[]*config.Config{on("gre1", "eth0", "gre2", "eth0")},
			map[string]string{"gre1": "gre1", "gre2": "gre1"}},
	} {
		g := New(&strongSwan{})
		for _, c := range test.states {
			g.Assign(c, test.saved)
		}
		for iface, want := range test.want {
			if got := g.Of(iface); got != want {
				t.Errorf("%s: %s is in the group %q, want %q", test.rule, iface, got, want)
			}
		}
	}
}

// strongSwan has one profile of a group. It allows what any member allows, and gives marks only if
// each member can. A new member hears of the SAs that there are.
func TestGroupHasOneProfile(t *testing.T) {
	s := &strongSwan{}
	g := New(s)
	g.Assign(on("gre1", "eth0", "gre2", "eth0"), nil)
	g.Secure(of("gre1", func(p *profile.Profile) { p.Hub = true }))
	s.want(t, "set gre1 from 192.0.2.1 hub true marks true SAs 2")
	g.Secure(of("gre2", func(p *profile.Profile) { p.Marks, p.MaxSAs = false, 5 }))
	s.want(t, "set gre1 from 192.0.2.1 hub true marks false SAs 5", "report gre1")
	g.Secure(of("gre2", nil))
	s.want(t, "set gre1 from 192.0.2.1 hub true marks true SAs 2")
	if got := g.With("gre1"); !slices.Equal(got, []string{"gre2"}) {
		t.Errorf("gre1 shares its SAs with %q", got)
	}
}

// The SAs of a group end with its last member.
func TestLastMemberEndsTheSAs(t *testing.T) {
	s := &strongSwan{}
	g := New(s)
	g.Assign(on("gre1", "eth0", "gre2", "eth0"), nil)
	g.Secure(of("gre1", func(p *profile.Profile) { p.Hub = true }))
	g.Secure(of("gre2", nil))
	s.told = nil
	if group, last := g.Leave("gre1"); group != "gre1" || last {
		t.Errorf("gre1 was the last of %s: %v", group, last)
	}
	s.want(t, "set gre1 from 192.0.2.1 hub false marks true SAs 2")
	g.Assign(on("gre2", "eth1"), nil)
	if g.Moved("gre2") {
		t.Error("gre2 is in another group although it alone has this one")
	}
	if group, last := g.Leave("gre2"); group != "gre1" || !last {
		t.Errorf("gre2 was the last of %s: %v", group, last)
	}
	s.want(t, "remove gre1")
}

// An interface that comes to the underlay of another one has to leave its own group.
func TestInterfaceMovesToAnotherGroup(t *testing.T) {
	s := &strongSwan{}
	g := New(s)
	g.Assign(on("gre1", "eth0", "gre2", "eth1"), nil)
	g.Secure(of("gre1", nil))
	g.Secure(of("gre2", nil))
	g.Assign(on("gre1", "eth0", "gre2", "eth0"), nil)
	if g.Moved("gre1") || !g.Moved("gre2") {
		t.Errorf("moved: gre1 %v, gre2 %v", g.Moved("gre1"), g.Moved("gre2"))
	}
	s.told = nil
	g.Leave("gre2")
	s.want(t, "remove gre2")
}

// perKey returns the configuration of gre1, gre2 and so on, on one device, with SAs for one key
// each; ports are the halves of their keys.
func perKey(device string, ports ...uint32) *config.Config {
	c := &config.Config{}
	for i, port := range ports {
		key := port<<16 | port
		c.Interfaces = append(c.Interfaces, config.Interface{
			Name: fmt.Sprintf("gre%d", i+1), Protected: true, Key: &key,
			Underlay: config.Underlay{Device: device}, IPsec: &config.IPsec{PerKey: true}})
	}
	return c
}

// charon tells interfaces apart whose routers have other identities, so a connection of the one has
// no child for the other: a router would get in with the wrong secret.
func TestInterfacesToldApartHaveNoCommonConnection(t *testing.T) {
	s := &strongSwan{}
	g := New(s)
	c := perKey("eth0", 42, 43, 44)
	c.Interfaces[1].IPsec.RemoteIdentity = "*.red.example"
	g.Assign(c, nil)
	g.Secure(of("gre1", nil))
	g.Secure(of("gre2", func(p *profile.Profile) { p.Marks = false }))
	s.want(t, "set gre1 from 192.0.2.1 hub false marks true SAs 2 beside gre3/44",
		"set gre2 from 192.0.2.1 hub false marks false SAs 2")
}

// Interfaces with SAs for their keys alone are a group each, and know of each other: strongSwan is
// told anew when one comes to the configuration or goes from it. None of them gets marks unless
// each can. When they are to share their SAs, they become one group.
func TestInterfacesWithSAsPerKey(t *testing.T) {
	s := &strongSwan{}
	g := New(s)
	g.Assign(perKey("eth0", 42, 43), nil)
	g.Secure(of("gre1", nil))
	s.want(t, "set gre1 from 192.0.2.1 hub false marks true SAs 2 beside gre2/43")
	g.Secure(of("gre2", func(p *profile.Profile) { p.Marks = false }))
	s.want(t, "set gre2 from 192.0.2.1 hub false marks false SAs 2 beside gre1/42",
		"set gre1 from 192.0.2.1 hub false marks false SAs 2 beside gre2/43")
	if got := g.With("gre1"); len(got) > 0 {
		t.Errorf("gre1 shares its SAs with %q", got)
	}
	g.Assign(perKey("eth0", 42, 43, 44), nil)
	s.want(t, "set gre1 from 192.0.2.1 hub false marks false SAs 2 beside gre2/43 gre3/44",
		"set gre2 from 192.0.2.1 hub false marks false SAs 2 beside gre1/42 gre3/44")
	if group, last := g.Leave("gre2"); group != "gre2" || !last {
		t.Errorf("gre2 was the last of %s: %v", group, last)
	}
	g.Assign(perKey("eth0", 42), nil)
	s.want(t, "remove gre2", "set gre1 from 192.0.2.1 hub false marks true SAs 2 beside gre2/43 gre3/44",
		"set gre1 from 192.0.2.1 hub false marks true SAs 2")
	g.Assign(on("gre1", "eth0", "gre2", "eth0"), nil)
	if g.Moved("gre1") || g.Of("gre2") != "gre1" {
		t.Errorf("gre1 has to leave: %v; gre2 is in %s", g.Moved("gre1"), g.Of("gre2"))
	}
}
