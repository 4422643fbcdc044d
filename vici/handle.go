package vici

import (
	"slices"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/ike"
	"cygnet/vici/message"
	"cygnet/vici/salist"
)

// handle applies one of charon's events to the table.
func (r *reconciler) handle(e govici.Event) {
	r.serial++
	switch e.Name {
	case "ike-updown":
		r.inbound.countUp(e.Message)
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
		r.dialler.alerted(e.Message)
	}
}

// eventSA reads the IKE_SA that an event is about, and returns its section as well. ok is false if
// it is not of one of our interfaces.
func (r *reconciler) eventSA(m *govici.Message) (*SA, *govici.Message, bool) {
	names, bodies := message.Sections(m)
	if len(names) == 0 {
		return nil, nil, false
	}
	sa, ok := salist.Parse(names[0], bodies[0], time.Now())
	if !ok {
		return sa, bodies[0], false
	}
	if known := r.sas[sa.ID]; known != nil && r.removed[known.Interface] {
		sa.Interface = known.Interface // the profile that named a site's connection is gone
		return sa, bodies[0], true
	}
	sa.Interface, ok = r.owner(sa)
	return sa, bodies[0], ok
}

// ikeUpDown notes that an IKE_SA is up or gone. It ignores the state in the event, which may be
// that of a moment before.
func (r *reconciler) ikeUpDown(m *govici.Message) {
	sa, _, ok := r.eventSA(m)
	if !ok {
		if message.Text(m, "up") != "yes" {
			r.rivals.down(sa)
		}
		return
	}
	if message.Text(m, "up") != "yes" {
		r.ledger.Count(sa.Key(), sa.Children)
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
		r.rivals.up(sa, m)
		return
	}
	affected, up := sa.Children, message.Text(m, "up") == "yes"
	known := r.sas[sa.ID]
	if known == nil && !up {
		return
	}
	r.ledger.Count(sa.Key(), affected)
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
	sa, ok := salist.Parse(names[0], after, time.Now())
	if !ok {
		return
	}
	if sa.Interface, ok = r.owner(sa); !ok {
		return
	}
	sa.State = "ESTABLISHED"
	id := uint32(message.Number(before, "uniqueid", 10))
	if old := r.sas[id]; old != nil {
		sa.Children, sa.Interface = old.Children, old.Interface
		r.renewals.proven(id, old.Key())
		r.forget(old)
	}
	r.put(sa)
	r.repairs.watchReplaced(id)
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
	r.renewals.proven(sa.ID, known.Key())
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
			r.ledger.Count(known.Key(), []Child{old})
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
