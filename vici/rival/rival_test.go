package rival

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"cygnet/vici/ike"
)

var (
	tunnel = netip.MustParseAddr("192.0.2.100")
	peer   = netip.MustParseAddr("192.0.2.11")
)

// ownerOf returns gre1 for the tunnel's address alone.
func ownerOf(a netip.Addr) (string, bool) { return "gre1", a == tunnel }

// roadWarrior returns an SA of somebody else's connection that a peer of gre1 got.
func roadWarrior(id uint32) *ike.SA {
	return &ike.SA{ID: id, Connection: "rw", LocalHost: tunnel, RemoteHost: peer,
		RemoteID: "spoke1", Children: []ike.Child{
			{Mode: "TUNNEL", LocalTS: []string{"192.0.2.100/32[gre]"}},
		}}
}

// A connection that gives dialling peers SAs in tunnel mode, which they close at once, is a rival
// from the second SA on. One that carries other traffic, is in use, dials itself or is at another
// address is none.
func TestWatch(t *testing.T) {
	for name, row := range map[string]struct {
		change func(sa *ike.SA)
		lasts  time.Duration // of each SA
		times  int
		want   bool
	}{
		"takes peers":           {func(*ike.SA) {}, 0, 2, true},
		"took one once":         {func(*ike.SA) {}, 0, 1, false},
		"is in use":             {func(*ike.SA) {}, time.Minute, 3, false},
		"dials":                 {func(sa *ike.SA) { sa.Initiator = true }, 0, 3, false},
		"is at another address": {func(sa *ike.SA) { sa.LocalHost = peer }, 0, 3, false},
		"is in transport mode": {func(sa *ike.SA) { sa.Children[0].Mode = "TRANSPORT" }, 0, 3,
			false},
		"is for road warriors": {func(sa *ike.SA) {
			sa.Children[0].LocalTS = []string{"0.0.0.0/0"}
		}, 0, 3, false},
	} {
		w, now := NewWatch(), time.Now()
		var got Rival
		found := false
		for id := range row.times {
			sa := roadWarrior(uint32(id + 1))
			row.change(sa)
			w.Up(sa, ownerOf, now)
			now = now.Add(row.lasts)
			got, found = w.Down(sa.ID, now)
		}
		if found != row.want {
			t.Errorf("a connection that %s: want a rival %v, have %v", name, row.want, found)
		}
		if found && (got.Interface != "gre1" || got.Connection != "rw" || got.Peer != peer ||
			got.Identity != "spoke1") {
			t.Errorf("want rw, the rival of gre1 for spoke1 at %v, have %+v", peer, got)
		}
	}
}

// When the link to charon ends, the watch forgets the SAs; when a profile changes, it forgets what
// the rivals of its interface did.
func TestWatchForgets(t *testing.T) {
	w, now := NewWatch(), time.Now()
	refuse := func(id uint32) bool {
		w.Up(roadWarrior(id), ownerOf, now)
		_, ok := w.Down(id, now)
		return ok
	}
	w.Up(roadWarrior(1), ownerOf, now)
	w.LinkLost()
	if _, ok := w.Down(1, now); ok {
		t.Error("an SA of before the link's end counts")
	}
	refuse(2)
	w.Forget("gre2")
	if !refuse(3) {
		t.Error("want a rival with the second refused SA, though another interface changed")
	}
	w.Forget("gre1")
	if refuse(4) {
		t.Error("want no rival with the first refused SA after the profile changed")
	}
}

// What peers that dial in can make the watch remember has a limit.
func TestWatchIsBounded(t *testing.T) {
	w, now := NewWatch(), time.Now()
	for id := range 10 * maxWatched {
		sa := roadWarrior(uint32(id + 1))
		sa.Connection = fmt.Sprintf("rw%d", id)
		w.Up(sa, ownerOf, now)
	}
	if n := len(w.watched); n > maxWatched {
		t.Errorf("want at most %d watched SAs, have %d", maxWatched, n)
	}
	for id := range 10 * maxWatched {
		w.Down(uint32(id+1), now)
	}
	if n := len(w.refused); n > maxRivals {
		t.Errorf("want at most %d connections, have %d", maxRivals, n)
	}
}

// A rival is reported for ten minutes after its last peer, once, and is fresh again after that.
func TestCurrent(t *testing.T) {
	now := time.Now()
	old, recent := Rival{Connection: "old", Last: now.Add(-lifetime)},
		Rival{Connection: "new", Last: now.Add(-time.Minute)}
	if kept := Current([]Rival{old, recent}, now); len(kept) != 1 || kept[0] != recent {
		t.Errorf("want only the new rival, have %+v", kept)
	}
	for _, row := range []struct {
		rival Rival
		fresh bool
	}{{old, true}, {recent, false}, {Rival{Connection: "another"}, true}} {
		again := row.rival
		again.Last = now
		list, fresh := Add([]Rival{old, recent}, again, now)
		count := 0
		for _, r := range list {
			if r.Connection == again.Connection {
				count++
			}
		}
		if fresh != row.fresh || count != 1 || list[len(list)-1] != again {
			t.Errorf("%s again: want fresh %v and one entry, have %v, %+v", again.Connection,
				row.fresh, fresh, list)
		}
	}
}
