package vici

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/vici/ike"
	"cygnet/vici/profile"
	"cygnet/vici/session"
)

// table holds the SAs of our interfaces as charon reported them, the peers that are wanted or have
// an SA, and the profiles. It decides nothing.
type table struct {
	*core
	sas      map[uint32]*SA // by charon's unique id; shared with readers
	index    ike.Index
	serial   uint64       // of charon's last event
	counters ike.Counters // the kernel's, as of the last Counted
	ledger   *ike.Ledger

	// ended has when SAs ended lately: a list that charon made before may still have them.
	ended  map[uint32]time.Time
	ending map[uint32]bool // SAs that this end told charon to close

	peers    map[Key]*peer
	profiles map[string]*appliedProfile // by interface
}

func newTable(c *core, ledger *ike.Ledger) *table {
	return &table{core: c, sas: map[uint32]*SA{}, index: ike.NewIndex(), ledger: ledger,
		ended: map[uint32]time.Time{}, ending: map[uint32]bool{},
		peers: map[Key]*peer{}, profiles: map[string]*appliedProfile{}}
}

// linkLost drops what belonged to the link that ended. The SAs stay: those in the kernel pass
// traffic as long as they live.
func (t *table) linkLost() {
	clear(t.ended)
	clear(t.ending)
	for _, p := range t.profiles {
		p.loaded, p.busy = false, false
		clear(p.outdated)
		p.revision++
	}
}

// enter enters an IKE_SA, in the place of what the table has of it. It returns that; nil: nothing.
func (t *table) enter(sa *SA) (old *SA) {
	old = t.sas[sa.ID]
	if old != nil {
		before := t.counters.Freshest(old.Children)
		t.ledger.Count(old.Key(), before)
		sa.Children = ike.Inherit(sa.Children, before)
	}
	t.carried(sa)
	t.published.Lock()
	t.sas[sa.ID] = sa
	t.published.Unlock()
	if old != nil {
		t.index.Replace(old, sa)
	} else {
		t.index.Add(sa)
	}
	return old
}

// newer reports whether the table knows more about an IKE_SA than a list for which charon was asked
// after the event with a serial number.
func (t *table) newer(id uint32, asked uint64) bool {
	_, ended := t.ended[id]
	known := t.sas[id]
	return ended || known != nil && known.AsOf > asked
}

// carried counts what the children of an IKE_SA have carried by now.
func (t *table) carried(sa *SA) { t.ledger.Count(sa.Key(), t.counters.Freshest(sa.Children)) }

// drop takes an IKE_SA out of the table and reports nothing.
func (t *table) drop(sa *SA) {
	t.carried(sa)
	t.published.Lock()
	delete(t.sas, sa.ID)
	t.published.Unlock()
	t.index.Remove(sa)
}

// end drops an IKE_SA that does not exist any more.
func (t *table) end(sa *SA) {
	t.drop(sa)
	delete(t.ending, sa.ID)
	t.ended[sa.ID] = time.Now()
}

// forgetEnded forgets the SAs that ended so long ago that no list has them.
func (t *table) forgetEnded() {
	maps.DeleteFunc(t.ended, func(_ uint32, at time.Time) bool {
		return time.Since(at) > 2*t.times.list
	})
}

// interfaces returns the names of the interfaces with a profile, in order.
func (t *table) interfaces() []string { return slices.Sorted(maps.Keys(t.profiles)) }

// owner returns the interface that an SA is of. A child of the SA may tell, when the table gets to
// know of it; otherwise the SA is of the interface in the name of its connection, or of the one
// whose profile is made like its connection. ours is false if there is none.
func (t *table) owner(sa *SA) (iface string, ours bool) {
	if _, _, ours = profile.ParseName(sa.Connection); ours {
		known := t.sas[sa.ID]
		if known != nil && (len(known.Children) > 0 || len(sa.Children) == 0) {
			return known.Interface, true
		}
		return sa.Interface, true
	}
	for iface, p := range t.profiles {
		if p.Site != nil && p.Site.Name == sa.Connection {
			return iface, true
		}
	}
	return "", false
}

// own returns those SAs that are of our interfaces.
func (t *table) own(listed []*SA) []*SA {
	var ours []*SA
	for _, sa := range listed {
		if iface, ok := t.owner(sa); ok {
			sa.Interface = iface
			ours = append(ours, sa)
		}
	}
	return ours
}

// peer returns the entry of a peer, which it makes if there is none.
func (t *table) peer(k Key) *peer {
	p := t.peers[k]
	if p == nil {
		p = &peer{Key: k, backoff: peerBackoff()}
		t.peers[k] = p
	}
	return p
}

// protecting returns the SAs with a peer, evaluated by the profile of its interface.
func (t *table) protecting(k Key) *ike.Group {
	if p := t.profiles[k.Interface]; p != nil {
		return t.index.Group(k, p)
	}
	return t.index.Group(k, nil)
}

// securing returns the SA that protects traffic with a peer: the oldest of its identity, since a
// rekeyed IKE_SA counts as new. Of several identities it is the one that was reported, if they are
// behind one NAT; otherwise the newest, since the others had the address before it.
func (t *table) securing(k Key) *SA {
	g := t.protecting(k)
	if len(g.Accepted()) == 0 {
		return nil
	}
	if !g.BehindOneNAT() {
		return g.Oldest(g.Accepted()[len(g.Accepted())-1].RemoteID)
	}
	if p := t.peers[k]; p != nil && p.up != nil {
		if sa := g.Oldest(p.up.Identity); sa != nil {
			return sa
		}
	}
	return g.Accepted()[0]
}

// snapshot returns the peers of an interface that are secured, in order.
func (t *table) snapshot(iface string) Snapshot {
	s := Snapshot{Interface: iface, InKernel: t.reached(iface)}
	for k, p := range t.peers {
		if k.Interface == iface && p.up != nil {
			s.Peers = append(s.Peers, *p.up)
		}
	}
	slices.SortFunc(s.Peers, func(a, b Peer) int {
		return cmp.Or(a.NBMA.Compare(b.NBMA), cmp.Compare(a.Mark, b.Mark))
	})
	return s
}

// reached returns the addresses to which the kernel has SAs from an interface, or nil if that is
// not known.
func (t *table) reached(iface string) map[netip.Addr]bool {
	p := t.profiles[iface]
	if t.inKernel == nil || p == nil {
		return nil
	}
	there, err := t.inKernel(p.LocalAddrs)
	if err != nil {
		t.log.Warn("cannot tell which SAs an earlier charon left in the kernel",
			slog.String("interface", iface), slog.Any("error", err))
		return nil
	}
	return there
}

// reason notes why a peer loses an SA, in case it is its last. Of several events the first one
// tells most.
func (t *table) reason(k Key, reason string) {
	if p := t.peers[k]; p != nil && (p.up != nil || p.withheld != nil) && p.reason == "" {
		p.reason = reason
	}
}

// terminate makes charon close an IKE_SA. charon raises an event when that is done.
func (t *table) terminate(id uint32) {
	t.ending[id] = true
	t.do(func(ctx context.Context, s *session.Session) error {
		return s.Terminate(ctx, t.times.command, id, 0)
	}, func(err error) {
		if !t.fatal(err) && err != nil {
			delete(t.ending, id)
			t.log.Warn("terminate failed", slog.Uint64("ike-id", uint64(id)),
				slog.Any("error", err))
		}
	})
}

// destroy makes charon tell the peer that an IKE_SA is closed, and forget it without an answer. If
// charon refuses, failed is called; nil: nothing more is done then.
func (t *table) destroy(id uint32, failed func()) {
	t.ending[id] = true
	t.do(func(ctx context.Context, s *session.Session) error {
		return s.Destroy(ctx, t.times.command, id)
	}, func(err error) {
		if t.fatal(err) || err == nil {
			return
		}
		delete(t.ending, id)
		t.log.Warn("terminate failed", slog.Uint64("ike-id", uint64(id)), slog.Any("error", err))
		if failed != nil {
			failed()
		}
	})
}

// rekey makes charon rekey an SA; see [session.Session.Rekey].
func (t *table) rekey(sa *SA, kind string, id uint32) {
	t.do(func(ctx context.Context, s *session.Session) error {
		return s.Rekey(ctx, t.times.command, kind, id)
	}, func(err error) {
		if !t.fatal(err) && err != nil {
			t.log.Warn("rekeying failed", slog.Any("peer", sa.Key()), slog.Uint64(kind, uint64(id)),
				slog.Any("error", err))
		}
	})
}
