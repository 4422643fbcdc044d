package vici

import (
	"context"
	"log/slog"

	govici "github.com/strongswan/govici/vici"
)

// Before strongSwan 6.0.3 only charon's log says why an attempt failed. A handshake raises some thirty events of it on either
// end, each of which wakes a thread of charon's and ours: a good part of what the handshake costs. So the log is heard on a
// session of its own, only while attempts fail; and a peer whose failure nobody heard is dialled once more with the ear open,
// before anything is told.

// ear is a subscription to charon's log.
type ear struct {
	ctx    context.Context
	close  context.CancelFunc
	events <-chan govici.Event // nil: not open yet
	conn   *frameConn
	opened []func() // what waits until it is open or cannot be opened
}

// alerts tells whether charon says by itself why an attempt failed.
func (r *reconciler) alerts() bool { return atLeast(r.version, 6, 0, 3) }

// hears tells whether the reason of a failure would be heard now.
func (r *reconciler) hears() bool { return r.alerts() || r.ear != nil && r.ear.events != nil }

// openEar has the log heard from now on, where that is of use.
func (r *reconciler) openEar() {
	if r.ear == nil && !r.alerts() {
		r.listenFor()
	}
}

// listenFor opens the ear. It is closed.
func (r *reconciler) listenFor() {
	ctx, cancel := context.WithCancel(r.link.ctx)
	e := &ear{ctx: ctx, close: cancel}
	select {
	case <-r.link.ears: // closed before it was opened
	default:
	}
	r.link.ears <- e
	r.ear = e
	r.after(r.times.ear, func() { r.reviewEar(e) })
}

// reviewEar closes the ear once no wanted peer fails for another reason than silence, and no attempt of others has failed lately.
func (r *reconciler) reviewEar(e *ear) {
	if r.ear != e {
		return
	}
	needed := r.inbound.suspects(r.times.ear)
	for _, p := range r.peers {
		needed = needed || p.refused && p.want.dials() && p.up == nil
	}
	if needed {
		r.after(r.times.ear, func() { r.reviewEar(e) })
		return
	}
	r.closeEar()
}

func (r *reconciler) closeEar() {
	r.ear.close()
	r.ear = nil
}

// earOpened goes on with what waited for an ear. With an error it is deaf, and what failed is told without a reason.
func (r *reconciler) earOpened(e *ear, events <-chan govici.Event, conn *frameConn, err error) {
	if r.ear != e {
		return
	}
	opened := e.opened
	e.events, e.conn, e.opened = events, conn, nil
	if err != nil {
		r.log.Warn("charon's log cannot be heard: why attempts fail stays unknown", slog.Any("error", err))
		r.closeEar()
	}
	for _, f := range opened {
		f()
	}
}

// tryAgain dials a peer that failed unheard once more, with the ear open. A PSK that somebody cleared is brought back with it.
func (r *reconciler) tryAgain(p *peer) {
	r.endAttempt(p)
	p.again, p.refused = true, true
	r.openEar()
	if !r.hears() {
		wait := &pause{}
		p.pause = wait
		r.ear.opened = append(r.ear.opened, func() { r.resume(p, wait) })
	}
	r.settle(p)
}

// unheard opens the ear for a peer that dialling did not secure for no known reason, so that further attempts tell it.
func (r *reconciler) unheard(p *peer) {
	if p.attempt != nil && p.hint == nil {
		p.refused = true
		r.openEar()
	}
}

// listen opens one ear after the other and holds it until it is closed or the link ends.
func (l *link) listen(c *Client) {
	for {
		select {
		case <-l.ctx.Done():
			return
		case e := <-l.ears:
			l.hold(c, e)
		}
	}
}

func (l *link) hold(c *Client, e *ear) {
	defer e.close()
	opened := func(events <-chan govici.Event, conn *frameConn, err error) {
		c.post(func(r *reconciler) { r.earOpened(e, events, conn, err) })
	}
	s, err := c.redial(e.ctx)
	if err != nil {
		opened(nil, nil, err)
		return
	}
	defer s.Close()
	events, err := s.subscribe(e.ctx, c.times.command, "log")
	if err != nil {
		opened(nil, nil, err)
		return
	}
	opened(events, s.conn, nil)
	<-e.ctx.Done()
}
