package vici

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/ike"
	"cygnet/vici/message"
	"cygnet/vici/peerstate"
	"cygnet/vici/session"
)

// handle applies one of charon's events to the table.
func (r *reconciler) handle(e govici.Event) {
	r.serial++
	switch e.Name {
	case "ike-updown":
		r.countUp(e.Message)
		r.ikeUpDown(e.Message)
	case "child-updown":
		r.childUpDown(e.Message)
	case "ike-rekey":
		r.ikeRekeyed(e.Message)
	case "child-rekey":
		r.childRekeyed(e.Message)
	case "ike-update":
		r.moved(e.Message)
	case "alert":
		r.alerted(e.Message)
	}
}

// eventSA reads the IKE_SA that an event is about, and returns its section as well. ok is false if
// it is not of one of our interfaces.
func (r *reconciler) eventSA(m *govici.Message) (*SA, *govici.Message, bool) {
	names, bodies := message.Sections(m)
	if len(names) == 0 {
		return nil, nil, false
	}
	sa, ok := parseSA(names[0], bodies[0], time.Now())
	if !ok {
		return sa, bodies[0], false
	}
	if known := r.sas[sa.ID]; known != nil && r.removed[known.Interface] {
		sa.Interface = known.Interface // the profile that named a site's connection is gone
		return sa, bodies[0], true
	}
	sa.Interface, ok = r.owner(sa.Connection)
	return sa, bodies[0], ok
}

// ikeUpDown notes that an IKE_SA is up or gone. It ignores the state in the event, which may be
// that of a moment before.
func (r *reconciler) ikeUpDown(m *govici.Message) {
	sa, _, ok := r.eventSA(m)
	if !ok {
		if message.Text(m, "up") != "yes" {
			r.rivalDown(sa)
		}
		return
	}
	if message.Text(m, "up") != "yes" {
		r.remove(sa.ID, downWords(sa))
		return
	}
	sa.State = "ESTABLISHED"
	if known := r.sas[sa.ID]; known != nil {
		sa.Children = known.Children
	}
	r.put(sa)
}

// childUpDown notes that children of an IKE_SA are up or gone.
func (r *reconciler) childUpDown(m *govici.Message) {
	sa, _, ok := r.eventSA(m)
	if !ok {
		r.rivalUp(sa, m)
		return
	}
	affected, up := sa.Children, message.Text(m, "up") == "yes"
	known := r.sas[sa.ID]
	if known == nil && !up {
		return
	}
	sa.Children = nil
	if known != nil {
		sa.Children = slices.DeleteFunc(slices.Clone(known.Children), func(c Child) bool {
			return slices.ContainsFunc(affected, func(a Child) bool { return a.ID == c.ID })
		})
		sa.State = known.State
	}
	if up {
		sa.State = "ESTABLISHED"
		for _, c := range affected {
			c.State = "INSTALLED"
			sa.Children = append(sa.Children, c)
		}
	} else {
		r.reason(sa.Key(), childClosed)
	}
	r.put(sa)
}

// ikeRekeyed replaces an IKE_SA by the one that has its children now.
func (r *reconciler) ikeRekeyed(m *govici.Message) {
	names, bodies := message.Sections(m)
	if len(names) == 0 {
		return
	}
	before, okBefore := message.Section(bodies[0], "old")
	after, okAfter := message.Section(bodies[0], "new")
	if !okBefore || !okAfter {
		return
	}
	sa, ok := parseSA(names[0], after, time.Now())
	if !ok {
		return
	}
	if sa.Interface, ok = r.owner(sa.Connection); !ok {
		return
	}
	sa.State = "ESTABLISHED"
	id := uint32(message.Number(before, "uniqueid", 10))
	if old := r.sas[id]; old != nil {
		sa.Children = old.Children
		r.proven(id, old.Key())
		r.forget(old)
	}
	r.put(sa)
	r.watchReplaced(id)
}

// childRekeyed replaces children by those that they were rekeyed to, which carry on their counters.
func (r *reconciler) childRekeyed(m *govici.Message) {
	sa, body, ok := r.eventSA(m)
	if !ok {
		return
	}
	known := r.sas[sa.ID]
	if known == nil {
		return
	}
	children, ok := message.Section(body, "child-sas")
	if !ok {
		return
	}
	r.proven(sa.ID, known.Key())
	updated := *known
	updated.Children = slices.Clone(known.Children)
	_, pairs := message.Sections(children)
	for _, pair := range pairs {
		before, ok := message.Section(pair, "old")
		after, okAfter := message.Section(pair, "new")
		if !ok || !okAfter {
			continue
		}
		gone, fresh := uint32(message.Number(before, "uniqueid", 10)),
			ike.ParseChild(after, time.Now())
		fresh.State = "INSTALLED"
		replaced := ike.ParseChild(before, time.Now())
		if n := slices.IndexFunc(updated.Children,
			func(c Child) bool { return c.ID == gone }); n >= 0 {
			old := r.counters.Freshest(updated.Children[n : n+1])[0]
			old.BytesIn, old.BytesOut = max(old.BytesIn, replaced.BytesIn),
				max(old.BytesOut, replaced.BytesOut)
			fresh.Carry(&old)
		}
		updated.Children = slices.DeleteFunc(updated.Children, func(c Child) bool {
			return c.ID == gone || c.ID == fresh.ID
		})
		updated.Children = append(updated.Children, fresh)
	}
	r.put(&updated)
}

// moved notes another address of an IKE_SA. In the event the new addresses are beside the IKE_SA's
// section.
func (r *reconciler) moved(m *govici.Message) {
	sa, _, ok := r.eventSA(m)
	if !ok || r.sas[sa.ID] == nil {
		return
	}
	before := r.sas[sa.ID]
	updated := *before
	if a := message.Address(m, "remote-host"); a.IsValid() {
		updated.RemoteHost = a
	}
	if a := message.Address(m, "local-host"); a.IsValid() {
		updated.LocalHost = a
	}
	updated.Children = slices.Clone(before.Children)
	for i := range updated.Children {
		c := &updated.Children[i]
		c.LocalTS = ike.Follow(c.LocalTS, before.LocalHost, updated.LocalHost)
		c.RemoteTS = ike.Follow(c.RemoteTS, before.RemoteHost, updated.RemoteHost)
	}
	if port := message.Number(m, "remote-port", 10); port != 0 {
		updated.RemotePort = uint16(port)
	}
	r.put(&updated)
}

// put enters an established IKE_SA as charon's last event reported it.
func (r *reconciler) put(sa *SA) {
	sa.AsOf = r.serial
	r.enter(sa)
}

// enter takes an IKE_SA into the table and acts on what follows.
func (r *reconciler) enter(sa *SA) {
	var before Key
	old := r.sas[sa.ID]
	if old != nil {
		sa.Children = ike.Inherit(sa.Children, r.counters.Freshest(old.Children))
	}
	r.published.Lock()
	r.sas[sa.ID] = sa
	r.published.Unlock()
	k := sa.Key()
	if old != nil {
		before = old.Key()
		r.index.Replace(old, sa)
	} else {
		r.index.Add(sa)
	}
	r.limitIdentity(sa)
	if !r.synced {
		return
	}
	r.inspect(sa)
	if before.Interface != "" && before != k && len(r.protecting(before).Accepted()) == 0 &&
		!r.move(before, k) {
		r.reason(before, fmt.Sprintf("the peer moved to %v", sa.RemoteHost))
		r.evaluate(before)
	}
	r.evaluate(k)
	r.renewed(sa)
}

// move reports that a peer has another key now: it has no SA left under the old one, and nobody had
// the new one before. It returns false if that is not the case.
func (r *reconciler) move(from, to Key) bool {
	old := r.peers[from]
	sa := r.securing(to)
	if old == nil || old.up == nil || sa == nil || sa.RemoteID != old.up.Identity ||
		r.peer(to).up != nil {
		return false
	}
	p := r.peer(to)
	info := r.info(to, sa)
	p.up, p.upSince = &info, time.Now()
	old.up, old.reason = nil, ""
	r.leaveAttempt(p, peerstate.Secured)
	r.emit(Moved{from, info})
	r.step(old)
	return true
}

// listed enters an IKE_SA from a list, unless it has ended or a newer event reported it. asked is
// the serial number of the last event when charon was asked for the list.
func (r *reconciler) listed(sa *SA, asked uint64) {
	_, ended := r.ended[sa.ID]
	known := r.sas[sa.ID]
	if ended || !sa.Stands() || known != nil && known.AsOf > asked {
		return
	}
	sa.AsOf = asked
	r.enter(sa)
}

// drop takes an IKE_SA out of the table and reports nothing.
func (r *reconciler) drop(sa *SA) {
	r.published.Lock()
	delete(r.sas, sa.ID)
	r.published.Unlock()
	r.index.Remove(sa)
}

// forget drops an IKE_SA that does not exist any more.
func (r *reconciler) forget(sa *SA) {
	r.drop(sa)
	delete(r.childless, sa.ID)
	delete(r.ending, sa.ID)
	delete(r.capped, sa.ID)
	delete(r.outlived, sa.ID)
	r.ended[sa.ID] = time.Now()
}

// remove takes an IKE_SA that has ended out of the table and acts on what follows.
func (r *reconciler) remove(id uint32, reason string) {
	sa := r.sas[id]
	if sa == nil {
		r.ended[id] = time.Now()
		return
	}
	r.forget(sa)
	r.reason(sa.Key(), reason)
	r.evaluate(sa.Key())
}

// reason notes why a peer loses an SA, in case it is its last. Of several events the first one
// tells most.
func (r *reconciler) reason(k Key, reason string) {
	if p := r.peers[k]; p != nil && (p.up != nil || p.withheld != nil) && p.reason == "" {
		p.reason = reason
	}
}

// inspect closes an SA that must not stay: of an interface whose profile was removed, from an
// address that is no longer this end's, with a mark that packets cannot have, or not allowed by the
// profile. It starts the waits for an SA
// without a child, for duplicates, and for routers that share an address.
func (r *reconciler) inspect(sa *SA) {
	applied := r.profiles[sa.Interface]
	switch {
	case r.ending[sa.ID]:
		return
	case applied == nil:
		// charon may have been negotiating this SA when the connections were unloaded.
		if p := r.peers[sa.Key()]; r.removed[sa.Interface] &&
			(p == nil || !p.connection.ToClose()) {
			r.terminate(sa.ID)
		}
		return
	}
	switch wrong := applied.Refuses(sa); {
	case !applied.SendsFrom(sa.LocalHost):
		r.log.Info("closing an SA from an address that is not ours any more",
			slog.Any("peer", sa.Key()), slog.Any("local", sa.LocalHost))
		r.reason(sa.Key(), "this end's address changed")
		r.terminate(sa.ID)
	case sa.Mark() != 0 && !applied.Marks:
		r.log.Info("closing an SA with a mark, which packets cannot be given any more",
			slog.Any("peer", sa.Key()))
		r.reason(sa.Key(), "packets cannot be given its mark any more")
		r.terminate(sa.ID)
	case wrong != "":
		r.reason(sa.Key(), wrong)
		r.terminate(sa.ID)
		r.refuse(sa, refusalWords(sa, wrong))
	case len(sa.Children) == 0 && !r.childless[sa.ID]:
		r.childless[sa.ID] = true
		r.after(r.times.childless, func() { r.pollChildless(sa.ID) })
	}
	r.watchDuplicates(sa.Key())
	r.watchSharing(sa)
}

// pollChildless closes an IKE_SA that got no child in time: the peer refused the traffic selectors.
// It asks charon first, since the table may be behind.
func (r *reconciler) pollChildless(id uint32) {
	delete(r.childless, id)
	if sa := r.sas[id]; sa == nil || len(sa.Children) > 0 {
		return
	}
	var found []*SA
	asked := r.serial
	r.do(func(ctx context.Context, s *session.Session) (err error) {
		found, err = listSAs(ctx, s, r.times.command, "ike-id", strconv.FormatUint(uint64(id), 10))
		return err
	}, func(err error) {
		if known := r.sas[id]; r.fatal(err) || err != nil || known == nil ||
			len(known.Children) > 0 {
			return
		}
		if found = r.own(found); len(found) == 0 {
			r.remove(id, "the SA ended")
			return
		}
		sa := found[0]
		if len(sa.Children) > 0 {
			r.listed(sa, asked)
			return
		}
		r.terminate(id)
		r.failedUnheard(r.peer(sa.Key()))
		r.refuse(sa, r.childlessWords(sa))
	})
}

// refuse reports that an SA is not good enough, and ends the attempt that led to it. If this end
// does not dial the peer, no consumer may know the peer, so refuse logs the refusal.
func (r *reconciler) refuse(sa *SA, reason string) {
	p := r.peer(sa.Key())
	if !p.want.dials() {
		r.logRefusal(sa, reason)
	}
	if p.up == nil {
		r.fail(p, reason)
		return
	}
	r.emit(Failed{p.Key, reason})
}
