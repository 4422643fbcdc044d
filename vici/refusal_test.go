package vici

import (
	"strings"
	"testing"
	"testing/synctest"

	"cygnet/vici/profile"
	"cygnet/vici/session"
)

// sas are SAs that charon may report as up, each as a change to an SA that the profile allows, and
// the words with which the client refuses the SA.
var sas = []struct {
	name   string
	change func(sa, child *tree)
	want   string // empty: the client accepts the SA
}{
	{"as it must be", func(sa, child *tree) {}, ""},
	{"an older charon that lists less", func(sa, child *tree) {
		for _, key := range []string{"encr-alg", "encr-keysize", "dh-group"} {
			sa.set(key, "")
		}
	}, ""},
	{"another cipher that is proposed", func(sa, child *tree) {
		sa.set("encr-keysize", "256")
		child.set("encr-keysize", "256")
	}, ""},
	{"tunnel mode", func(sa, child *tree) { child.set("mode", "TUNNEL") },
		"tunnel mode where this end needs transport mode"},
	{"a weak cipher for ESP",
		func(sa, child *tree) { child.set("encr-alg", "3DES_CBC"); child.set("encr-keysize", "") },
		"uses 3DES_CBC for ESP"},
	{"no cipher for ESP",
		func(sa, child *tree) { child.set("encr-alg", "NULL"); child.set("encr-keysize", "") },
		"uses NULL for ESP"},
	{"a weak cipher for IKE", func(sa, child *tree) { sa.set("encr-alg", "AES_CBC") },
		"uses AES_CBC-128 for IKE"},
	{"a weak group", func(sa, child *tree) { sa.set("dh-group", "MODP_1024") },
		"exchanged keys by MODP_1024"},
	{"another identity", func(sa, child *tree) { sa.set("remote-id", "mallory.example.org") },
		`proved to be "mallory.example.org", which the remote identity "*.example.net" does not allow`},
	{"another identity inside EAP", func(sa, child *tree) { sa.set("remote-eap-id", "carol") }, ""},
	{"an endless identity",
		func(sa, child *tree) { sa.set("remote-id", strings.Repeat("x", 5000)+".example.net") },
		"a name of 5012 bytes"},
	{"selectors for everything",
		func(sa, child *tree) { child.set("remote-ts", []string{"192.0.2.1/32"}) },
		`an SA for "192.0.2.1/32" where this end needs one for GRE and nothing else`},
	{"another protocol besides", func(sa, child *tree) {
		child.set("local-ts", []string{"192.0.2.100/32[gre]", "192.0.2.100/32[tcp/ssh]"})
	}, `an SA for "192.0.2.100/32[tcp/ssh]"`},
	{"a part of GRE, by its key",
		func(sa, child *tree) { child.set("local-ts", []string{"192.0.2.100/32[gre/42]"}) },
		`an SA for "192.0.2.100/32[gre/42]"`},
	{"GRE of somebody else",
		func(sa, child *tree) { child.set("remote-ts", []string{"10.9.9.0/24[gre]"}) },
		"an SA for [192.0.2.100/32[gre]] to [10.9.9.0/24[gre]], which is not the GRE between 192.0.2.100 and 192.0.2.1"},
	{"a network around the peer",
		func(sa, child *tree) { child.set("remote-ts", []string{"192.0.2.0/24[47]"}) }, ""},
}

// strict returns a profile that allows certain remote identities only.
func strict() profile.Profile {
	p := testProfile()
	p.RemoteIdentity = "*.example.net"
	return p
}

// changed returns an SA that the profile strict allows, with a change, as arguments of establish.
func (f *fakeCharon) changed(change func(sa, child *tree)) (overrides []any) {
	sa := mk("remote-id", "spoke.example.net", "dh-group", "CURVE_25519", "encr-alg", "AES_GCM_16",
		"encr-keysize", "128")
	child := f.child(f.lastID+1, "TRANSPORT")
	for _, key := range []string{"local-ts", "remote-ts"} {
		child.set(key, []string{map[string]string{
			"local-ts":  "192.0.2.100/32[gre]",
			"remote-ts": "192.0.2.1/32[gre]",
		}[key]})
	}
	child.set("encr-alg", "AES_GCM_16")
	child.set("encr-keysize", "128")
	change(sa, child)
	sa.set("child-sas", mk("gre-1", child))
	for _, key := range sa.keys {
		overrides = append(overrides, key, sa.values[key])
	}
	return overrides
}

// The client never reports an SA as up that the profile does not allow. It closes the SA and
// reports why, whichever end dialled.
func TestRefusedSAs(t *testing.T) {
	for _, initiator := range []string{"yes", "no"} {
		for _, test := range sas {
			t.Run(test.name+", we dialled: "+initiator, func(t *testing.T) {
				bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
					c.SetProfile(strict())
					eventsNow(c)
					if initiator == "yes" {
						f.do(func(f *fakeCharon) {
							f.onInitiate = func(f *fakeCharon, name string) *tree {
								f.establish(name, "192.0.2.1", f.changed(test.change)...)
								return yes
							}
						})
						c.Want(key("192.0.2.1"), Initiate)
					} else {
						f.do(func(f *fakeCharon) {
							f.establish("cygnet-gre1", "192.0.2.1",
								append(f.changed(test.change), "initiator", "no")...)
						})
					}
					got := eventsNow(c)
					if test.want == "" {
						if len(got) != 1 || f.count("terminate") != 0 {
							t.Errorf("want an event and no SA closed, have %+v, commands %v",
								got, f.seen().order)
						} else if _, ok := got[0].(Up); !ok {
							t.Errorf("want Up, have %+v", got)
						}
						return
					}
					if len(got) != 1 || f.count("terminate 1") != 1 {
						t.Fatalf("events %+v, commands %v", got, f.seen().order)
					}
					if failed, ok := got[0].(Failed); !ok ||
						!strings.Contains(failed.Reason, test.want) ||
						!strings.HasPrefix(failed.Reason, "192.0.2.1 on gre1 ") {
						t.Errorf("want %q, have %+v", test.want, got[0])
					}
				})
			})
		}
	}
}

// When a profile becomes stricter, the client closes an SA that the profile allowed before and does
// not allow any more. The reason of the Down says so.
func TestStricterProfile(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*profile.Profile)
		want   string
	}{
		{"identity", func(p *profile.Profile) { p.RemoteIdentity = "*.example.org" },
			"proved to be"},
		{"proposals",
			func(p *profile.Profile) { p.Proposals = []string{"aes256gcm16-prfsha384-x25519"} },
			"for IKE"},
		{"ESP proposals",
			func(p *profile.Profile) { p.ESPProposals = []string{"chacha20poly1305"} }, "for ESP"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
				p := strict()
				c.SetProfile(p)
				eventsNow(c)
				f.do(func(f *fakeCharon) {
					f.establish("cygnet-gre1", "192.0.2.1",
						append(f.changed(func(sa, child *tree) {}), "initiator", "no")...)
				})
				eventsNow(c)
				test.change(&p)
				c.SetProfile(p)
				events := eventsNow(c)
				var down Down
				for _, e := range events {
					if d, ok := e.(Down); ok {
						down = d
					}
				}
				if !strings.Contains(down.Reason, test.want) || f.count("terminate 1") != 1 {
					t.Errorf("want Down with %q and SA 1 closed, have %+v, commands %v", test.want,
						events, f.seen().order)
				}
			})
		})
	}
}

// The client checks SAs that are there before it starts against the profile, too, before it reports
// them.
func TestAdoptedSAsAreInspected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", "192.0.2.1", "encr-alg", "DES_CBC", "encr-keysize", "")
			f.establish("cygnet-gre1", "192.0.2.2")
		})
		c := start(t, f)
		var snapshots []Snapshot
		for _, e := range eventsNow(c) {
			if s, ok := e.(Snapshot); ok {
				snapshots = append(snapshots, s)
			}
		}
		if len(snapshots) != 1 || len(snapshots[0].Peers) != 1 ||
			snapshots[0].Peers[0].NBMA != key("192.0.2.2").NBMA || f.count("terminate 1") != 1 {
			t.Errorf("want a snapshot with 192.0.2.2 and SA 1 closed, have %+v, commands %v",
				snapshots, f.seen().order)
		}
	})
}

// The length of reasons is limited, since charon's messages can have text that a peer chose.
func TestReasonsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) {
			f.onInitiate = func(f *fakeCharon, name string) *tree {
				return mk("success", "no", "errmsg", strings.Repeat("x", 60_000))
			}
		})
		c.Want(key("192.0.2.1"), Initiate)
		for _, e := range eventsNow(c) {
			if failed, ok := e.(Failed); !ok || len(failed.Reason) > 600 ||
				!strings.Contains(failed.Reason, "xxx…") {
				t.Errorf("want a failure with at most 600 bytes, have %T with %d", e,
					len(failed.Reason))
			}
		}
		if err := (&session.CommandError{Command: "initiate",
			Message: strings.Repeat("y", 60_000)}).Error(); len(err) > 400 {
			t.Errorf("want an error of at most 400 bytes, have %d", len(err))
		}
	})
}
