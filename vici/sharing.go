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

// separates reports whether routers at an address get SAs with marks.
func (r *reconciler) separates(address Key) bool {
	applied := r.profiles[address.Interface]
	a := r.shared[address]
	return applied != nil && applied.Marks && (a == nil || !a.gaveUp)
}

// watchSharing makes sure that routers which share an SA's address get marks.
func (r *reconciler) watchSharing(sa *SA) {
	address := Key{Interface: sa.Interface, NBMA: sa.RemoteHost}
	if !r.separates(address) {
		return
	}
	a, marked := r.shared[address], sa.Mark() != 0
	if a == nil {
		if !marked && !r.protecting(address).BehindOneNAT() {
			return
		}
		a = &sharedAddress{Key: address}
		r.shared[address] = a
		r.log.Info("several routers are behind one NAT address: their SAs get marks of their own",
			slog.Any("peer", address),
			slog.Any("identities", ike.Identities(r.index.At(address))))
	}
	if marked {
		a.strays = 0
	}
	if a.loaded {
		r.sendAway(a, true)
		return
	}
	r.loadShared(a)
}

// sendAway closes the SAs without a mark at a shared address, except those of one router. The other
// routers dial again. strays tells whether the connection that gives marks was loaded when these
// SAs came.
func (r *reconciler) sendAway(a *sharedAddress, strays bool) {
	g := r.protecting(a.Key)
	if a.gaveUp || !g.BehindOneNAT() {
		return
	}
	stays := r.securing(a.Key).RemoteID
	for _, sa := range slices.Backward(g.Accepted()) {
		if sa.RemoteID == stays || r.ending[sa.ID] {
			continue
		}
		if strays {
			a.strays++
		}
		r.log.Debug("closing an SA without a mark at a shared address", slog.Any("peer", a.Key),
			slog.String("identity", sa.RemoteID))
		r.terminate(sa.ID)
	}
	if a.strays > maxStrays && !a.gaveUp {
		a.gaveUp = true
		r.log.Warn(
			"charon does not take the connection with marks for routers behind one NAT address: only the newest SA gets this end's traffic",
			slog.Any("peer", a.Key),
			slog.String("connection", profile.SharedName(a.Interface, a.NBMA)))
		r.evaluate(a.Key)
	}
}

// loadShared loads the connection for a shared address. If this end dials a peer at that address,
// charon has a connection for it that fits as well, and for a router that dials in it takes the
// older of the two. So loadShared unloads the peer's connection before; the next initiation loads
// it again.
func (r *reconciler) loadShared(a *sharedAddress) {
	applied := r.profiles[a.Interface]
	if a.busy || !r.synced || applied == nil || !r.mayMark() {
		return
	}
	a.busy = true
	conn, connErr := applied.newConnection(a.NBMA, true)
	command, dialled := r.times.command, ""
	if p := r.peers[a.Key]; p != nil && p.connection.MayBeLoaded() {
		dialled = profile.ConnectionName(p.Interface, p.NBMA)
	}
	r.do(func(ctx context.Context, s *session.Session) error {
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
		case r.fatal(err):
		case err != nil:
			r.log.Error("charon does not take the connection for a shared address",
				slog.Any("peer", a.Key), slog.Any("error", err))
			r.after(r.times.profileRetry, func() { r.loadShared(a) })
		default:
			r.sharedLoaded(a)
		}
	})
}

// sharedLoaded continues after charon has taken the connection for a shared address.
func (r *reconciler) sharedLoaded(a *sharedAddress) {
	if r.shared[a.Key] != a {
		r.unloadShared(a) // the connection is not needed any more
		return
	}
	a.loaded = true
	r.dispatch()
	r.sendAway(a, false)
}

// sharedConns returns the connections for an interface's shared addresses. They are loaded before
// its template, by which routers that return with charon would come back without marks.
func (r *reconciler) sharedConns(
	p *appliedProfile,
) (addresses []*sharedAddress, conns []*govici.Message) {
	for k, a := range r.shared {
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

// forgetShared makes an interface stop using marks. Routers that have a mark come back without one.
func (r *reconciler) forgetShared(iface string) {
	for k, a := range r.shared {
		if k.Interface == iface {
			delete(r.shared, k)
			r.unloadShared(a)
		}
	}
}

// unloadShared unloads the connection for a shared address.
func (r *reconciler) unloadShared(a *sharedAddress) {
	name := profile.SharedName(a.Interface, a.NBMA)
	r.do(func(ctx context.Context, s *session.Session) error {
		return s.UnloadConnection(ctx, r.times.command, name)
	}, func(err error) { r.fatal(err) })
}

// compareShared loads connections for shared addresses again that somebody unloaded, and forgets
// addresses at which no router has been for a while.
func (r *reconciler) compareShared(loaded map[string]bool) {
	for k, a := range r.shared {
		if a.loaded && !loaded[profile.SharedName(k.Interface, k.NBMA)] {
			a.loaded = false
			r.loadShared(a)
		}
		switch {
		case len(r.index.At(k)) > 0:
			a.vacant = time.Time{}
		case a.vacant.IsZero():
			a.vacant = time.Now()
		case time.Since(a.vacant) >= r.times.vacant:
			delete(r.shared, k)
			r.unloadShared(a)
		}
	}
}

// adoptShared takes over a connection for a shared address that this program loaded before a
// restart.
func (r *reconciler) adoptShared(address Key) {
	if r.shared[address] != nil {
		return
	}
	a := &sharedAddress{Key: address}
	if !r.separates(address) || len(r.index.At(address)) == 0 {
		r.unloadShared(a)
		return
	}
	r.shared[address] = a
	r.loadShared(a)
}
