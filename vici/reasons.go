package vici

import (
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/failure"
	"cygnet/vici/message"
	"cygnet/vici/peerstate"
	"cygnet/vici/profile"
)

// logLine takes a line of charon's log about a connection. It ignores the connections of others.
func (d *dialler) logLine(connection, line string) {
	if !strings.HasPrefix(connection, profile.Prefix) {
		return
	}
	if cause, found := failure.Of(line); found {
		if cause.Cause == failure.NoSecret {
			d.secretMissing(connection)
		}
		d.noteCause(connection, cause)
	}
}

// secretMissing loads a PSK again that an administrator cleared. It does nothing if the reconciler
// loaded the PSK a moment ago, since then another secret is missing. If peers only dial in, the
// reconciler may have no log subscription and so may not call secretMissing; the comparison every
// minute then loads the PSK.
func (d *dialler) secretMissing(connection string) {
	iface, _, _ := profile.ParseName(connection)
	if p := d.profiles[iface]; p != nil && len(p.PSK) > 0 &&
		time.Since(p.since) > d.times.connections {
		d.loader.load(p)
	}
}

// alerted takes an alert, which charon sends since strongSwan 6.0.3. An alert has a type and the
// IKE_SA that it is about.
func (d *dialler) alerted(m *govici.Message) {
	names, _ := message.Sections(m)
	if len(names) == 0 {
		return
	}
	for _, key := range m.Keys() {
		if value := message.Text(m, key); value != "" {
			d.logLine(names[0], failure.Alert(value))
		}
	}
}

// noteCause records why a connection's attempt fails, and polls the attempt a moment later. Only
// the first cause counts: later ones follow from it.
func (d *dialler) noteCause(connection string, cause failure.Reason) {
	iface, addr, _ := profile.ParseName(connection)
	p := d.peers[Key{Interface: iface, NBMA: addr}]
	if p == nil || p.attempt == nil || p.cause != nil {
		return
	}
	p.cause = &cause
	a := p.attempt
	d.after(50*time.Millisecond, func() { d.pollAttempt(p, a) })
}

// cause returns why a peer's attempt failed, as far as that is known.
func (d *dialler) cause(p *peer) failure.Cause {
	if p.cause == nil {
		return failure.NoAnswer
	}
	return p.cause.Cause
}

// words returns why a peer's attempt failed.
func (d *dialler) words(p *peer) string {
	ends := failure.Ends{Peer: p.Key}
	if applied := d.profiles[p.Interface]; applied != nil {
		ends.Identity, ends.RemoteIdentity = applied.Identity, applied.RemoteIdentity
	}
	if p.cause == nil {
		return failure.Reason{}.Words(ends)
	}
	return p.cause.Words(ends)
}

// childlessCause returns why an IKE_SA without a CHILD_SA was closed, as far as that is known.
func (d *dialler) childlessCause(sa *SA) failure.Cause {
	if cause := d.cause(d.peer(sa.Key())); cause != failure.NoAnswer {
		return cause
	}
	return failure.NoChild
}

// childlessWords returns why an IKE_SA without a CHILD_SA was closed.
func (d *dialler) childlessWords(sa *SA) string {
	p := d.peer(sa.Key())
	if p.cause != nil && p.cause.Cause != failure.NoAnswer {
		return d.words(p)
	}
	return failure.Childless(p.Key)
}

// tryAgain dials a peer once more that failed for no known reason, with a subscription to charon's
// log. The attempt loads the PSK again, in case somebody cleared it.
func (d *dialler) tryAgain(p *peer) {
	d.leave(p, peerstate.Stop)
	p.failure.On(peerstate.Unheard)
	d.charonLog.subscribe()
	if !d.charonLog.explains() {
		wait := &pause{}
		p.dialling.On(peerstate.Pause)
		p.pause = wait
		d.charonLog.sub.waiting = append(d.charonLog.sub.waiting, func() { d.resume(p, wait) })
	}
	d.step(p)
}

// failedUnheard subscribes to charon's log for a peer that an attempt did not secure for no known
// reason, so that further attempts show it.
func (d *dialler) failedUnheard(p *peer) {
	if p.attempt != nil && p.cause == nil {
		p.failure.On(peerstate.Explained)
		d.charonLog.subscribe()
	}
}
