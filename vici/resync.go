package vici

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"cygnet/vici/peerstate"
	"cygnet/vici/profile"
	"cygnet/vici/salist"
	"cygnet/vici/session"
)

// resync reads all SAs from the charon of a new link. Events are subscribed to already, and wait
// until this is done.
func (r *reconciler) resync() {
	var listed []*SA
	began := time.Now()
	locals := r.marks.addresses()
	r.do(func(ctx context.Context, s *session.Session) (err error) {
		if err := r.marks.sweepStates(ctx, s, locals); err != nil {
			return err
		}
		listed, err = salist.List(ctx, s, r.times.list, "", "")
		return err
	}, func(err error) {
		if err != nil {
			r.lose(err)
			return
		}
		if len(locals) > 0 {
			r.marks.state = marksSwept
		}
		for _, sa := range r.sas {
			r.drop(sa)
		}
		for _, sa := range r.own(listed) {
			switch {
			case sa.Stands():
				r.put(sa)
			case sa.Replaced():
				r.repairs.watchReplaced(sa.ID)
			}
		}
		r.synced = true
		r.ledger.Forget(r.sas)
		r.timeTaken(began)
		r.emit(Connected{Version: r.Version})
		for _, iface := range r.interfaces() {
			r.adopt(iface)
			r.emit(r.snapshot(iface))
		}
		for _, iface := range r.interfaces() {
			r.loader.load(r.profiles[iface])
			r.review(iface)
		}
		r.endRemoved()
		for e := range r.expulsions.due {
			r.expulsions.expel(e.Key, e.identity)
		}
		for _, p := range r.peers {
			r.step(p)
		}
		r.renewals.checkAfterStall()
		r.after(r.times.connections, r.compareConnections)
		r.after(r.times.comparison, r.compareRegularly)
		r.after(r.times.inbound, r.inbound.countInbound)
	})
}

// compareRegularly compares everything with charon once a minute.
func (r *reconciler) compareRegularly() {
	r.forgetEnded()
	r.ledger.Forget(r.sas)
	r.compare()
	for _, iface := range r.interfaces() {
		// charon does not list secrets, and loading what it has changes nothing
		r.loader.load(r.profiles[iface])
	}
	r.after(r.times.comparison, r.compareRegularly)
}

// compare brings the table in line with all SAs that charon lists now. An SA that is not in the
// list is asked for by its id before it counts as gone. An SA that an event has removed meanwhile
// stays removed.
func (r *reconciler) compare() {
	if r.comparing {
		return
	}
	r.comparing = true
	known := make([]uint32, 0, len(r.sas))
	for id := range r.sas {
		known = append(known, id)
	}
	var listed []*SA
	var gone []uint32
	asked, began := r.serial, time.Now()
	r.do(func(ctx context.Context, s *session.Session) (err error) {
		listed, gone, err = listAndAsk(ctx, s, r.times, known)
		return err
	}, func(err error) {
		r.comparing = false
		if r.fatal(err) || err != nil {
			return
		}
		for _, sa := range r.own(listed) {
			r.listed(sa, asked)
		}
		for _, id := range gone {
			r.remove(id, "the SA ended")
		}
		r.timeTaken(began)
	})
}

// timeTaken reports how long a comparison with charon took, to whoever asked for that.
func (r *reconciler) timeTaken(began time.Time) {
	if r.compared != nil {
		r.compared(time.Since(began))
	}
}

// listAndAsk lists all SAs, and asks by id for those of known that the list does not have.
func listAndAsk(
	ctx context.Context, s *session.Session, t times, known []uint32,
) (listed []*SA, gone []uint32, err error) {
	if listed, err = salist.List(ctx, s, t.list, "", ""); err != nil {
		return nil, nil, err
	}
	seen := map[uint32]bool{}
	for _, sa := range listed {
		seen[sa.ID] = true
	}
	for _, id := range known {
		if seen[id] {
			continue
		}
		found, err := salist.List(ctx, s, t.command, "ike-id", strconv.FormatUint(uint64(id), 10))
		if err != nil {
			return nil, nil, err
		}
		if len(found) == 0 {
			gone = append(gone, id)
		}
		listed = append(listed, found...)
	}
	return listed, gone, nil
}

// compareConnections compares the connections that charon has with those that are wanted. An
// administrator's swanctl --load-all unloads connections that it does not know, such as ours, and
// charon raises no event for that.
func (r *reconciler) compareConnections() {
	var names []string
	r.do(func(ctx context.Context, s *session.Session) (err error) {
		names, err = s.Connections(ctx, r.times.command)
		return err
	}, func(err error) {
		if r.fatal(err) {
			return
		}
		if err != nil {
			r.log.Warn("get-conns failed", slog.Any("error", err))
		} else {
			r.connectionsAre(names)
		}
		r.after(r.times.connections, r.compareConnections)
	})
}

// connectionsAre loads our connections again if charon does not have them, and unloads those that
// nobody wants.
func (r *reconciler) connectionsAre(names []string) {
	loaded := map[string]bool{}
	for _, name := range names {
		loaded[name] = true
	}
	for iface, p := range r.profiles {
		if p.loaded && !loaded[profile.Prefix+iface] {
			r.log.Info("somebody unloaded our connections: loading them again",
				slog.String("interface", iface))
			p.loaded = false
			r.loader.load(p)
		}
	}
	r.sharing.compare(loaded)
	if time.Since(r.arrival) < r.times.orphans {
		return
	}
	for _, name := range names {
		r.unloadOrphan(name)
	}
}

// unloadOrphan unloads a connection with our prefix that nobody wants, left from before a restart.
// Its SAs stay.
func (r *reconciler) unloadOrphan(name string) {
	iface, addr, ours := profile.ParseName(name)
	if !ours {
		return
	}
	if !addr.IsValid() {
		if r.profiles[iface] == nil {
			r.loader.unloadTemplate(iface)
		}
		return
	}
	if name == profile.SharedName(iface, addr) {
		r.sharing.adopt(Key{Interface: iface, NBMA: addr})
		return
	}
	if profile.GivesMarks(name) {
		r.recalls.unload(name)
		return
	}
	p := r.peer(Key{Interface: iface, NBMA: addr})
	p.connection.On(peerstate.Listed)
	r.step(p)
}
