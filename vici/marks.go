package vici

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"cygnet/vici/profile"
	"cygnet/vici/session"
)

// charon gives out marks from 1 on. After a restart of charon the first router to come gets a mark
// that another router had. That router may still send through ESP states that a killed charon has
// left in the kernel, and this end may still direct packets for it to that mark. So no router gets
// a mark from a charon before two things are done: the states of the earlier charon are gone
// (Options.Sweep), and the consumer directs nothing to their marks any more (MarksAsked,
// AllowMarks).

// marksState is how far that is done on a link.
type marksState uint8

const (
	marksUnasked marksState = iota
	marksSwept              // no state of an earlier charon has a mark
	marksAsked              // the consumer was asked
	marksAllowed
)

// mayMark reports whether charon may be told to give out marks. If not, it starts what has to be
// done before; allowMarks then goes on.
func (r *reconciler) mayMark() bool {
	switch r.marks {
	case marksAllowed:
		return true
	case marksUnasked:
		r.sweepLate()
	case marksSwept:
		r.askMarks()
	}
	return false
}

// askMarks asks the consumer whether marks may be given out.
func (r *reconciler) askMarks() {
	r.marks = marksAsked
	r.marksSerial++
	r.emit(MarksAsked{r.marksSerial})
}

// allowMarks takes the consumer's answer and goes on with what had to wait. An answer to an earlier
// question is ignored.
func (r *reconciler) allowMarks(serial uint64) {
	if r.marks != marksAsked || serial != r.marksSerial {
		return
	}
	r.marks = marksAllowed
	for _, iface := range r.interfaces() {
		if p := r.profiles[iface]; p.stale && !p.busy {
			r.load(p)
		}
	}
	for _, a := range r.shared {
		if p := r.profiles[a.Interface]; !a.loaded && p != nil && !p.busy {
			r.loadShared(a)
		}
	}
}

// sweepAgain makes a sweep necessary before more marks are given out, if a profile has new
// addresses from which packets get marks.
func (r *reconciler) sweepAgain(p profile.Profile, known *appliedProfile) {
	if p.Marks && (known == nil || !known.Marks || !slices.Equal(known.LocalAddrs, p.LocalAddrs)) {
		r.marks = marksUnasked
	}
}

// hasShared reports whether an interface has an address that several routers share.
func (r *reconciler) hasShared(iface string) bool {
	for k := range r.shared {
		if k.Interface == iface {
			return true
		}
	}
	return false
}

// markingAddresses returns the local addresses from which packets can be given marks.
func (r *reconciler) markingAddresses() []netip.Addr {
	var locals []netip.Addr
	for _, iface := range r.interfaces() {
		if p := r.profiles[iface]; p.Marks {
			locals = append(locals, p.LocalAddrs...)
		}
	}
	return locals
}

// sweepMarks deletes the states with marks that an earlier charon left in the kernel. It runs in a
// job.
func (r *reconciler) sweepMarks(
	ctx context.Context, s *session.Session, locals []netip.Addr,
) error {
	if r.sweep == nil || len(locals) == 0 {
		return nil
	}
	return r.sweep(locals, func() (map[uint32]bool, error) {
		return listSPIs(ctx, s, r.times.list)
	})
}

// sweepLate sweeps on a link that was there before any profile had marks, and goes on with
// askMarks.
func (r *reconciler) sweepLate() {
	r.marks = marksAsked // the serial number is never sent, so that no answer has it
	r.marksSerial++
	serial, locals := r.marksSerial, r.markingAddresses()
	r.do(func(ctx context.Context, s *session.Session) error {
		return r.sweepMarks(ctx, s, locals)
	}, func(err error) {
		switch {
		case err != nil:
			r.lose(err)
		case r.marks == marksAsked && r.marksSerial == serial:
			r.askMarks()
		}
	})
}

// recall is a router that had an SA with a mark when charon was lost. It is dialled when charon is
// back, through the mapping that its SA left at its NAT. If charon was killed the router does not
// know that its SA is gone, and would find out half a minute later.
type recall struct {
	Key      // of the address
	port     uint16
	identity string
}

// recalls are the routers to be recalled and those being recalled.
type recalls struct {
	all     map[recall]bool   // true: being recalled
	queues  map[Key][]*recall // by address, those to be recalled
	running map[string]int    // by connection, how many are being recalled
}

func newRecalls() recalls {
	return recalls{all: map[recall]bool{}, queues: map[Key][]*recall{}, running: map[string]int{}}
}

// noteMarked notes at the end of a link which routers have an SA with a mark. Routers that were
// being recalled are to be recalled again.
func (r *reconciler) noteMarked() {
	clear(r.recalls.running)
	for c, running := range r.recalls.all {
		if running {
			r.recalls.enqueue(c)
		}
	}
	for k, p := range r.peers {
		if k.Mark == 0 || p.up == nil || p.port == 0 {
			continue
		}
		c := recall{Key: Key{Interface: k.Interface, NBMA: p.up.NBMA}, port: p.port,
			identity: p.up.Identity}
		if _, known := r.recalls.all[c]; !known {
			r.recalls.enqueue(c)
		}
	}
}

// enqueue notes that a router is to be recalled.
func (rs *recalls) enqueue(c recall) {
	rs.all[c] = false
	rs.queues[c.Key] = append(rs.queues[c.Key], &c)
}

// hasReturned reports whether a router has an SA again.
func (r *reconciler) hasReturned(c *recall) bool { return r.index.HasChild(c.Key, c.identity) }

// dispatchRecalls recalls routers while there is room. It comes after all peers that are wanted.
func (r *reconciler) dispatchRecalls() {
	for k, queue := range r.recalls.queues {
		a, applied := r.shared[k], r.profiles[k.Interface]
		known := a != nil && applied != nil
		for len(queue) > 0 && (!known || a.loaded && r.starting < r.inFlight) {
			c := queue[0]
			queue = queue[1:]
			if !known || r.hasReturned(c) {
				delete(r.recalls.all, *c)
				continue
			}
			r.recall(c, applied)
		}
		if len(queue) > 0 {
			r.recalls.queues[k] = queue
		} else {
			delete(r.recalls.queues, k)
		}
	}
}

// recall dials one router. Whichever router answers gets a mark.
func (r *reconciler) recall(c *recall, applied *appliedProfile) {
	name, command := profile.RecallName(c.Interface, c.NBMA, c.port), r.times.command
	r.recalls.all[*c] = true
	r.recalls.running[name]++
	r.starting++
	conn, connErr := applied.Offered(applied.known).NewRecall(c.NBMA, c.port)
	r.do(func(ctx context.Context, s *session.Session) error {
		if connErr != nil {
			return connErr
		}
		return s.Initiate(ctx, command, name, profile.ChildName, conn)
	}, func(err error) {
		if r.fatal(err) {
			return
		}
		if err != nil {
			r.log.Debug("dialling a router behind a NAT that others share failed", "peer", c.Key,
				"identity", c.identity, "error", err)
		}
		r.after(r.times.firstCheck, func() {
			r.starting--
			r.pollRecalled(c, name, time.Now().Add(r.times.attempt))
			r.dispatch()
		})
	})
}

// pollRecalled checks whether a router has returned, until an attempt's time is over. After that
// the router has to dial by itself.
func (r *reconciler) pollRecalled(c *recall, name string, until time.Time) {
	if !r.hasReturned(c) && time.Now().Before(until) {
		r.after(r.times.check, func() { r.pollRecalled(c, name, until) })
		return
	}
	delete(r.recalls.all, *c)
	if r.recalls.running[name]--; r.recalls.running[name] <= 0 {
		delete(r.recalls.running, name)
	}
	r.unloadRecall(name)
}

// unloadRecall unloads the connection of a recall that is over, and ends what is still half open of
// it.
func (r *reconciler) unloadRecall(name string) {
	if r.recalls.running[name] > 0 {
		return
	}
	r.do(func(ctx context.Context, s *session.Session) error {
		if err := s.UnloadConnection(ctx, r.times.command, name); err != nil {
			return err
		}
		return endHalfOpen(ctx, s, r.times.command, name)
	}, func(err error) { r.fatal(err) })
}
