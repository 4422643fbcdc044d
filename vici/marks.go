package vici

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"cygnet/vici/ike"
	"cygnet/vici/profile"
	"cygnet/vici/session"
)

// charon counts the marks that it gives out from 1 on. After its restart the first router to come
// has the mark that another one had, while that one may still send through states which a charon
// that was killed has left in the kernel, and what leads to it here still has the mark. So nobody
// gets a mark of a charon's before the states of the last one are gone (Options.Sweep), and then
// the consumer says that nothing leads to their marks any more (MarksAsked, AllowMarks).

// marksState is how far a link is with that.
type marksState uint8

const (
	marksUnasked marksState = iota
	marksSwept              // no states of an earlier charon have marks
	marksAsked              // the consumer was asked
	marksAllowed
)

// mayMark says whether charon may be told to give out marks; if not, that is seen to, and
// allowMarks goes on.
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

func (r *reconciler) askMarks() {
	r.marks = marksAsked
	r.marksSerial++
	r.emit(MarksAsked{r.marksSerial})
}

// allowMarks goes on with what had to wait, if the answer is to the last question.
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

// sweepAgain has the marks of a profile's addresses seen to before more are given out, where those
// addresses are new.
func (r *reconciler) sweepAgain(p profile.Profile, known *appliedProfile) {
	if p.Marks && (known == nil || !known.Marks || !slices.Equal(known.LocalAddrs, p.LocalAddrs)) {
		r.marks = marksUnasked
	}
}

// hasShared says whether routers on an interface have to get marks.
func (r *reconciler) hasShared(iface string) bool {
	for k := range r.shared {
		if k.Interface == iface {
			return true
		}
	}
	return false
}

// markingAddresses are the local addresses from which packets can be given marks.
func (r *reconciler) markingAddresses() []netip.Addr {
	var locals []netip.Addr
	for _, iface := range r.interfaces() {
		if p := r.profiles[iface]; p.Marks {
			locals = append(locals, p.LocalAddrs...)
		}
	}
	return locals
}

// sweepMarks has no states of an earlier charon with marks be in the kernel. It runs in a job.
func (r *reconciler) sweepMarks(ctx context.Context, s *session.Session, locals []netip.Addr) error {
	if r.sweep == nil || len(locals) == 0 {
		return nil
	}
	return r.sweep(locals, func() (map[uint32]bool, error) {
		return ike.ListSPIs(ctx, s, r.times.list)
	})
}

// sweepLate sweeps on a link that was there before anybody had to have a mark, and goes on.
func (r *reconciler) sweepLate() {
	r.marks = marksAsked // with no number that an answer could have
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

// A recall is a router that had an SA with a mark when charon was lost, and is dialled once charon
// is back. Where charon was killed the router knows nothing of that and would find out half a
// minute later. It is dialled through the mapping that its SA has left at its NAT.
type recall struct {
	Key      // of the address
	port     uint16
	identity string
}

// recalls are those that are due and those under way.
type recalls struct {
	all     map[recall]bool   // true: under way
	queues  map[Key][]*recall // of each address, those that are due
	running map[string]int    // how many are under way by a connection's name
}

func newRecalls() recalls {
	return recalls{all: map[recall]bool{}, queues: map[Key][]*recall{}, running: map[string]int{}}
}

// noteMarked notes who has an SA with a mark when the link ends. Who was being recalled is due
// again.
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

func (rs *recalls) enqueue(c recall) {
	rs.all[c] = false
	rs.queues[c.Key] = append(rs.queues[c.Key], &c)
}

// there reports whether the router has an SA again.
func (r *reconciler) hasReturned(c *recall) bool { return r.index.HasChild(c.Key, c.identity) }

// dispatchRecalls dials who is to be dialled while there is room, after all peers that are wanted.
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

// recall dials one router. Whoever it turns out to be gets a mark.
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

// lookRecalled looks whether a router came back, until an attempt's time is over. Then it has to
// dial by itself.
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
		return ike.EndHalfOpen(ctx, s, r.times.command, name)
	}, func(err error) { r.fatal(err) })
}
