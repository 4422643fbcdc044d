package vici

import (
	"context"
	"time"

	"cygnet/vici/profile"
	"cygnet/vici/session"
)

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
	*table
	sharing *sharing
	places  *places
	all     map[recall]bool   // true: being recalled
	queues  map[Key][]*recall // by address, those to be recalled
	running map[string]int    // by connection, how many are being recalled
}

func newRecalls(t *table, sh *sharing, ps *places) *recalls {
	return &recalls{table: t, sharing: sh, places: ps, all: map[recall]bool{},
		queues: map[Key][]*recall{}, running: map[string]int{}}
}

// linkLost notes at the end of a link which routers have an SA with a mark. Routers that were being
// recalled are to be recalled again.
func (rc *recalls) linkLost() {
	clear(rc.running)
	for c, running := range rc.all {
		if running {
			rc.enqueue(c)
		}
	}
	for k, p := range rc.peers {
		if k.Mark == 0 || p.up == nil || p.port == 0 {
			continue
		}
		c := recall{Key: Key{Interface: k.Interface, NBMA: p.up.NBMA}, port: p.port,
			identity: p.up.Identity}
		if _, known := rc.all[c]; !known {
			rc.enqueue(c)
		}
	}
}

// enqueue notes that a router is to be recalled.
func (rc *recalls) enqueue(c recall) {
	rc.all[c] = false
	rc.queues[c.Key] = append(rc.queues[c.Key], &c)
}

// hasReturned reports whether a router has an SA again.
func (rc *recalls) hasReturned(c *recall) bool { return rc.index.HasChild(c.Key, c.identity) }

// dispatch recalls routers while there is room. It comes after all peers that are wanted.
func (rc *recalls) dispatch() {
	for k, queue := range rc.queues {
		a, applied := rc.sharing.addresses[k], rc.profiles[k.Interface]
		known := a != nil && applied != nil
		for len(queue) > 0 && (!known || a.loaded && rc.places.free()) {
			c := queue[0]
			queue = queue[1:]
			if !known || rc.hasReturned(c) {
				delete(rc.all, *c)
				continue
			}
			rc.dial(c, applied)
		}
		if len(queue) > 0 {
			rc.queues[k] = queue
		} else {
			delete(rc.queues, k)
		}
	}
}

// dial dials one router. Whichever router answers gets a mark.
func (rc *recalls) dial(c *recall, applied *appliedProfile) {
	name, command := profile.RecallName(c.Interface, c.NBMA, c.port), rc.times.command
	rc.all[*c] = true
	rc.running[name]++
	rc.places.taken++
	conn, connErr := applied.Offered(applied.known).NewRecall(c.NBMA, c.port)
	rc.do(func(ctx context.Context, s *session.Session) error {
		if connErr != nil {
			return connErr
		}
		return s.Initiate(ctx, command, name, applied.ChildName(), conn)
	}, func(err error) {
		if rc.fatal(err) {
			return
		}
		if err != nil {
			rc.log.Debug("dialling a router behind a NAT that others share failed", "peer", c.Key,
				"identity", c.identity, "error", err)
		}
		rc.after(rc.times.firstCheck, func() {
			rc.places.taken--
			rc.poll(c, name, time.Now().Add(rc.times.attempt))
			rc.places.dispatch()
		})
	})
}

// poll checks whether a router has returned, until an attempt's time is over. After that
// the router has to dial by itself.
func (rc *recalls) poll(c *recall, name string, until time.Time) {
	if !rc.hasReturned(c) && time.Now().Before(until) {
		rc.after(rc.times.check, func() { rc.poll(c, name, until) })
		return
	}
	delete(rc.all, *c)
	if rc.running[name]--; rc.running[name] <= 0 {
		delete(rc.running, name)
	}
	rc.unload(name)
}

// unload unloads the connection of a recall that is over, and ends what is still half open of
// it.
func (rc *recalls) unload(name string) {
	if rc.running[name] > 0 {
		return
	}
	rc.do(func(ctx context.Context, s *session.Session) error {
		if err := s.UnloadConnection(ctx, rc.times.command, name); err != nil {
			return err
		}
		return endHalfOpen(ctx, s, rc.times.command, name)
	}, func(err error) { rc.fatal(err) })
}
