package vici

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cygnet/vici/ike"
	"cygnet/vici/profile"
	"cygnet/vici/session"
)

// natSA returns an SA of a router behind the shared address.
func natSA(id uint32, identity string, port uint16, nat bool) *SA {
	return &SA{Interface: "gre1", Connection: "cygnet-gre1", ID: id, State: "ESTABLISHED",
		RemoteID: identity, RemotePort: port,
		LocalHost: netip.MustParseAddr("192.0.2.100"), RemoteHost: netip.MustParseAddr(sharedTest),
		RemoteNAT: nat,
		Children:  []Child{{ID: id, State: "INSTALLED", Mode: "TRANSPORT"}}}
}

// unlinked returns a reconciler whose charon takes commands and does nothing.
func unlinked(p profile.Profile) *reconciler {
	r := newReconciler(New(Options{Log: slog.New(slog.DiscardHandler)}))
	r.setProfile(p)
	r.link, r.synced = &session.Link{}, true
	return r
}

// apartModel is the definition of routers behind one NAT: some two SAs have neither identity nor
// port in common, and one of the two is behind NAT.
func apartModel(sas []*SA) bool {
	for i, a := range sas {
		for _, b := range sas[i+1:] {
			if a.RemoteID != b.RemoteID && a.RemotePort != b.RemotePort &&
				(a.RemoteNAT || b.RemoteNAT) {
				return true
			}
		}
	}
	return false
}

// Whatever SAs come and go, the index returns what a search through all SAs would find.
func TestIndexAgreesWithTheTable(t *testing.T) {
	good := func(sa *SA) bool { return sa.Stands() && len(sa.Children) > 0 }
	rapid.Check(t, func(rt *rapid.T) {
		r := unlinked(testProfile())
		k := key(sharedTest)
		there := map[uint32]*SA{}
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				id := rapid.Uint32Range(1, 12).Draw(rt, "id")
				sa := natSA(id, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "identity"),
					rapid.SampledFrom([]uint16{500, 4500, 4501}).Draw(rt, "port"),
					rapid.Bool().Draw(rt, "nat"))
				if rapid.Bool().Draw(rt, "childless") {
					sa.Children = nil
				}
				there[id] = sa
				r.put(sa)
			},
			"remove": func(rt *rapid.T) {
				id := rapid.Uint32Range(1, 12).Draw(rt, "id")
				delete(there, id)
				r.remove(id, "test")
			},
			"profile": func(*rapid.T) {
				p := testProfile()
				p.DPDDelay = time.Duration(r.profiles["gre1"].revision+1) * time.Second
				r.setProfile(p)
			},
			"": func(rt *rapid.T) {
				var all, count []*SA
				for _, id := range slices.Sorted(func(yield func(uint32) bool) {
					for id := range there {
						if !yield(id) {
							return
						}
					}
				}) {
					all = append(all, there[id])
					if good(there[id]) {
						count = append(count, there[id])
					}
				}
				g := r.protecting(k)
				switch {
				case !slices.Equal(r.index.SAs(k), all) || !slices.Equal(r.index.At(k), all):
					rt.Fatalf("want SAs %v, have %v", all, r.index.SAs(k))
				case !slices.Equal(g.Accepted(), count):
					rt.Fatalf("want accepted SAs %v, have %v", count, g.Accepted())
				case !slices.Equal(g.OthersThan(""), ike.Identities(count)):
					rt.Fatalf("identities %v, want %v", g.OthersThan(""), ike.Identities(count))
				case g.BehindOneNAT() != apartModel(count):
					rt.Fatalf("behind one NAT: %v, want %v, of %+v", g.BehindOneNAT(),
						apartModel(count), count)
				}
				for _, name := range []string{"a", "b", "c"} {
					i := slices.IndexFunc(count, func(sa *SA) bool { return sa.RemoteID == name })
					if oldest := g.Oldest(name); i < 0 && oldest != nil || i >= 0 &&
						oldest != count[i] {
						rt.Fatalf("the oldest of %s is %+v", name, oldest)
					}
					want := slices.DeleteFunc(ike.Identities(count), func(other string) bool {
						return other == name
					})
					if got := g.OthersThan(name); !slices.Equal(got, want) {
						rt.Fatalf("others than %s: %v, want %v", name, got, want)
					}
					has := slices.ContainsFunc(count, func(sa *SA) bool {
						return sa.RemoteID == name
					})
					if r.index.HasChild(k, name) != has {
						rt.Fatalf("%s with a child: %v", name, !has)
					}
				}
			},
		})
	})
}

// growth are numbers of SAs for which the work is counted.
var growth = []int{1000, 2000, 10000}

// Routers behind one NAT address come one after the other. The report about the address names all
// of them, and is made once for each that comes. Beyond that the work for an event does not grow
// with the number of SAs, neither does it when charon lists them all again.
func TestLookUpsBehindOneAddress(t *testing.T) {
	const each = 8 // SAs looked at for one event
	for _, count := range growth {
		r := unlinked(testProfile())
		for i := range count {
			before := r.index.Visited()
			r.put(natSA(uint32(i+1), fmt.Sprintf("spoke%05d", i), uint16(1024+i), true))
			if looked := r.index.Visited() - before; looked > uint64(i+1+each) {
				t.Fatalf("%d routers: %d SAs and identities looked at when one more came", i,
					looked)
			}
			r.outbox = nil
		}
		if g := r.protecting(key(sharedTest)); !g.BehindOneNAT() || len(g.Accepted()) != count {
			t.Errorf("%d routers: %d counted", count, len(g.Accepted()))
		}
		before := r.index.Visited()
		for i := range count {
			r.listed(natSA(uint32(i+1), fmt.Sprintf("spoke%05d", i), uint16(1024+i), true),
				r.serial)
		}
		if looked := r.index.Visited() - before; looked > uint64(each*count) {
			t.Errorf("%d routers: %d looked at while charon listed them", count, looked)
		}
	}
}

// One identity that dials for ever has as many SAs as it may have, each event costs the same, and
// for each further SA charon gets one command.
func TestManySAsOfOneIdentity(t *testing.T) {
	for _, count := range growth {
		r := unlinked(testProfile())
		for i := range count {
			r.put(natSA(uint32(i+1), []string{"greedy", "Greedy"}[i%2], uint16(1024+i), true))
			for id := range r.limits.closing {
				r.remove(id, "closed by this end")
			}
			if got := len(r.sas); got > profile.DefaultMaxSAs {
				t.Fatalf("%d SAs of one identity, want at most %d", got, profile.DefaultMaxSAs)
			}
			r.outbox = nil
		}
		if looked := r.index.Visited(); looked > uint64(8*count) {
			t.Errorf("%d SAs: %d looked at", count, looked)
		}
		if got := r.published.status.OverLimit; got != uint64(count-profile.DefaultMaxSAs) {
			t.Errorf("%d SAs: %d closed, want %d", count, got, count-profile.DefaultMaxSAs)
		}
		if got := r.index.OfIdentity(ike.Identity{Interface: "gre1",
			ID: "greedy"}); len(got) != profile.DefaultMaxSAs ||
			got[0].ID != uint32(count-profile.DefaultMaxSAs+1) {
			t.Errorf("%d SAs: the oldest that stays is %d", count, got[0].ID)
		}
	}
}

// When an identity has more SAs than it may have, the client destroys the oldest and logs that
// once. A router with another identity keeps its own.
func TestOldestSAsOfAnIdentityAreClosed(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		var log bytes.Buffer
		eventsNow(c)
		c.post(func(r *reconciler) { r.log = slog.New(slog.NewTextHandler(&log, nil)) })
		p := testProfile()
		p.MaxSAs = 3
		c.SetProfile(p)
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", "192.0.2.7", "remote-id", "modest", "initiator", "no")
			for i := range 6 {
				f.establish("cygnet-gre1", fmt.Sprintf("192.0.2.%d", 11+i), "remote-id", "greedy",
					"initiator", "no")
			}
		})
		after(c, time.Second)
		if got := f.seen().sas; !slices.Equal(got, []uint32{1, 5, 6, 7}) {
			t.Errorf("SAs %v are left, want the newest three of the greedy one, and the other's",
				got)
		}
		if f.count("terminate") != 3 || f.forced != 3 {
			t.Errorf("%d terminations, %d of them at once: %v", f.count("terminate"), f.forced,
				f.seen().order)
		}
		if got := c.Status().OverLimit; got != 3 {
			t.Errorf("want 3 SAs counted as over the limit, have %d", got)
		}
		if lines := strings.Count(log.String(), "too many SAs"); lines != 1 ||
			!strings.Contains(log.String(), "identity=greedy") {
			t.Errorf("want one line about the identity greedy in the log, have\n%s", log.String())
		}
	})
}

// The client limits also the SAs that were there before it started.
func TestSAsOfBeforeAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) {
			for i := range profile.DefaultMaxSAs + 2 {
				f.establish("cygnet-gre1", fmt.Sprintf("192.0.2.%d", 101+i), "remote-id", "greedy",
					"initiator", "no")
			}
		})
		after(c, time.Second)
		if got := len(f.seen().sas); got != profile.DefaultMaxSAs {
			t.Errorf("want %d SAs left, have %d", profile.DefaultMaxSAs, got)
		}
	})
}

// After a restart of charon each router that had a mark is noted once. Checking whether one has
// returned goes through its own SAs only.
func TestManyRecalls(t *testing.T) {
	for _, count := range growth {
		p := testProfile()
		p.Marks = true
		r := unlinked(p)
		address := key(sharedTest)
		r.sharing.addresses[address] = &sharedAddress{Key: address, loaded: true}
		for i := range count {
			sa := natSA(uint32(i+1), fmt.Sprintf("spoke%05d", i), uint16(1024+i), true)
			sa.Connection, sa.Children[0].Mark = markedConn, sa.ID
			profile.Attribute(sa)
			r.put(sa)
		}
		r.recalls.linkLost()
		r.recalls.linkLost()
		if got := len(r.recalls.all); got != count {
			t.Fatalf("%d noted, want %d", got, count)
		}
		before := r.index.Visited()
		r.recalls.dispatch()
		if looked := r.index.Visited() - before; looked > uint64(2*count) ||
			len(r.recalls.all) != 0 {
			t.Errorf("%d routers: %d SAs looked at to find that all are back, %d left", count,
				looked, len(r.recalls.all))
		}
	}
}

func BenchmarkSAsBehindOneAddress(b *testing.B) {
	for _, identities := range []string{"one identity", "an identity each"} {
		for _, count := range growth {
			b.Run(fmt.Sprintf("%d SAs, %s", count, identities), func(b *testing.B) {
				for b.Loop() {
					r := unlinked(testProfile())
					for i := range count {
						identity := "greedy"
						if identities != "one identity" {
							identity = fmt.Sprintf("spoke%05d", i)
						}
						r.put(natSA(uint32(i+1), identity, uint16(1024+i), true))
						for id := range r.limits.closing {
							r.remove(id, "closed by this end")
						}
						r.outbox = nil
					}
					b.ReportMetric(float64(r.index.Visited())/float64(count), "looked/event")
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(count),
					"ns/event")
			})
		}
	}
}
