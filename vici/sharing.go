package vici

import (
	"context"
	"log/slog"
	"slices"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/ike"
	"cygnet/vici/profile"
	"cygnet/vici/session"
)

// Routers behind one NAT have the same address, and their SAs have equal selectors. The kernel
// sends packets for any of them into the newest SA, unless marks tell the SAs apart. Peers that do
// not need marks have none, since the template gives none. When a second router is seen at an
// address, the reconciler loads a connection for that address, whose children get a unique mark
// each. charon prefers it to the template. The first router keeps its SA. The SAs of the others are
// closed once, and those routers come back by the new connection.

// sharedAddress is an address that several routers have, or had lately.
type sharedAddress struct {
	Key
	loaded bool      // charon has its connection
	busy   bool      // it is being loaded
	gaveUp bool      // charon takes another connection all the same
	strays int       // SAs in a row that came without a mark although it is loaded
	vacant time.Time // since when the address has no SA; zero: it has one
}

const maxStrays = 5

// sharing gives marks to the SAs of routers that share an address.
type sharing struct {
	*table
	marks     *marks
	places    *places
	addresses map[Key]*sharedAddress
	evaluate  func(Key) // compares what was reported about a peer with the table
}

// linkLost drops what belonged to the link that ended. The addresses stay.
func (sh *sharing) linkLost() {
	for _, a := range sh.addresses {
		a.loaded, a.busy = false, false
	}
}

// has reports whether an interface has an address that several routers share.
func (sh *sharing) has(iface string) bool {
	for k := range sh.addresses {
		if k.Interface == iface {
			return true
		}
	}
	return false
}

// separates reports whether routers at an address get SAs with marks.
func (sh *sharing) separates(address Key) bool {
	applied := sh.profiles[address.Interface]
	a := sh.addresses[address]
	return applied != nil && applied.Marks && (a == nil || !a.gaveUp)
}

// watchSharing makes sure that routers which share an SA's address get marks.
func (sh *sharing) watchSharing(sa *SA) {
	address := Key{Interface: sa.Interface, NBMA: sa.RemoteHost}
	if !sh.separates(address) {
		return
	}
	a, marked := sh.addresses[address], sa.Mark() != 0
	if a == nil {
		if !marked && !sh.protecting(address).BehindOneNAT() {
			return
		}
		a = &sharedAddress{Key: address}
		sh.addresses[address] = a
		sh.log.Info("several routers are behind one NAT address: their SAs get marks of their own",
			slog.Any("peer", address),
			slog.Any("identities", ike.Identities(sh.index.At(address))))
	}
	if marked {
		a.strays = 0
	}
	if a.loaded {
		sh.sendAway(a, true)
		return
	}
	sh.loadShared(a)
}

// sendAway closes the SAs without a mark at a shared address, except those of one router. The other
// routers dial again. strays reports whether the connection that gives marks was loaded when these
// SAs came.
func (sh *sharing) sendAway(a *sharedAddress, strays bool) {
	g := sh.protecting(a.Key)
	if a.gaveUp || !g.BehindOneNAT() {
		return
	}
	stays := sh.securing(a.Key).RemoteID
	for _, sa := range slices.Backward(g.Accepted()) {
		if sa.RemoteID == stays || sh.ending[sa.ID] {
			continue
		}
		if strays {
			a.strays++
		}
		sh.log.Debug("closing an SA without a mark at a shared address", slog.Any("peer", a.Key),
			slog.String("identity", sa.RemoteID))
		sh.terminate(sa.ID)
	}
	if a.strays > maxStrays && !a.gaveUp {
		a.gaveUp = true
		sh.log.Warn(
			"charon does not take the connection with marks for routers behind one NAT address: only the newest SA gets this end's traffic",
			slog.Any("peer", a.Key),
			slog.String("connection", profile.SharedName(a.Interface, a.NBMA)))
		sh.evaluate(a.Key)
	}
}

// loadAll loads the connections that are not loaded.
func (sh *sharing) loadAll() {
	for _, a := range sh.addresses {
		if p := sh.profiles[a.Interface]; !a.loaded && p != nil && !p.busy {
			sh.loadShared(a)
		}
	}
}

// loadShared loads the connection for a shared address. If this end dials a peer at that address,
// charon has a connection for it that fits as well, and for a router that dials in it takes the
// older of the two. So loadShared unloads the peer's connection before; the next initiation loads
// it again.
func (sh *sharing) loadShared(a *sharedAddress) {
	applied := sh.profiles[a.Interface]
	if a.busy || !sh.synced || applied == nil || !sh.marks.may() {
		return
	}
	a.busy = true
	conn, connErr := applied.newConnection(a.NBMA, true)
	command, dialled := sh.times.command, ""
	if p := sh.peers[a.Key]; p != nil && p.connection.MayBeLoaded() {
		dialled = profile.ConnectionName(p.Interface, p.NBMA)
	}
	sh.do(func(ctx context.Context, s *session.Session) error {
		if connErr != nil {
			return connErr
		}
		if dialled != "" {
			if err := s.UnloadConnection(ctx, command, dialled); err != nil {
				return err
			}
		}
		return s.LoadConnection(ctx, command, conn)
	}, func(err error) {
		a.busy = false
		switch {
		case sh.fatal(err):
		case err != nil:
			sh.log.Error("charon does not take the connection for a shared address",
				slog.Any("peer", a.Key), slog.Any("error", err))
			sh.after(sh.times.profileRetry, func() { sh.loadShared(a) })
		default:
			sh.loaded(a)
		}
	})
}

// loaded continues after charon has taken the connection for a shared address.
func (sh *sharing) loaded(a *sharedAddress) {
	if sh.addresses[a.Key] != a {
		sh.unload(a) // the connection is not needed any more
		return
	}
	a.loaded = true
	sh.places.dispatch()
	sh.sendAway(a, false)
}

// connections returns the connections for an interface's shared addresses. They are loaded before
// its template, by which routers that return with charon would come back without marks.
func (sh *sharing) connections(
	p *appliedProfile,
) (addresses []*sharedAddress, conns []*govici.Message) {
	for k, a := range sh.addresses {
		if k.Interface != p.Interface || a.busy {
			continue
		}
		// If this fails, the template has the same fault, and that is reported.
		if conn, err := p.newConnection(k.NBMA, true); err == nil {
			addresses, conns = append(addresses, a), append(conns, conn)
		}
	}
	return addresses, conns
}

// forget makes an interface stop using marks. Routers that have a mark come back without one.
func (sh *sharing) forget(iface string) {
	for k, a := range sh.addresses {
		if k.Interface == iface {
			delete(sh.addresses, k)
			sh.unload(a)
		}
	}
}

// unload unloads the connection for a shared address.
func (sh *sharing) unload(a *sharedAddress) {
	name := profile.SharedName(a.Interface, a.NBMA)
	sh.do(func(ctx context.Context, s *session.Session) error {
		return s.UnloadConnection(ctx, sh.times.command, name)
	}, func(err error) { sh.fatal(err) })
}

// compare loads connections for shared addresses again that somebody unloaded, and forgets
// addresses at which no router has been for a while.
func (sh *sharing) compare(loaded map[string]bool) {
	for k, a := range sh.addresses {
		if a.loaded && !loaded[profile.SharedName(k.Interface, k.NBMA)] {
			a.loaded = false
			sh.loadShared(a)
		}
		switch {
		case len(sh.index.At(k)) > 0:
			a.vacant = time.Time{}
		case a.vacant.IsZero():
			a.vacant = time.Now()
		case time.Since(a.vacant) >= sh.times.vacant:
			delete(sh.addresses, k)
			sh.unload(a)
		}
	}
}

// adopt takes over a connection for a shared address that this program loaded before a
// restart.
func (sh *sharing) adopt(address Key) {
	if sh.addresses[address] != nil {
		return
	}
	a := &sharedAddress{Key: address}
	if !sh.separates(address) || len(sh.index.At(address)) == 0 {
		sh.unload(a)
		return
	}
	sh.addresses[address] = a
	sh.loadShared(a)
}
