package server

import (
	"iter"
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/inquiry"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/policy"
)

// awaitsRuling reports whether a registration has to wait for the authorizer. It is asked about
// each overlay address that the rules let the sender have, and about nothing else: its ruling about
// the address also says which prefixes the client may announce.
func (srv *Server) awaitsRuling(m *overlay.Message) bool {
	if !srv.Inquiries.On() || !srv.Config.Server || srv.Draining {
		return false
	}
	for i := range m.CIEs {
		cie := &m.CIEs[i]
		client := m.ClientOf(cie)
		prefix, ok := cie.PrefixOf(client)
		switch {
		case !ok || !srv.HasFamily(client) || srv.isPrefix(m, client, prefix):
		case client.Is6() && client.IsLinkLocalUnicast():
		case srv.Peers.ObjectTo(m.From).Raised():
		case srv.objectToAddress(m, cie, client).Raised(), srv.objectToTaking(m, client).Raised():
		case srv.Inquiries.Await(srv.question(m, client), m.From, m.Raw):
			return true
		}
	}
	return false
}

// question returns what the authorizer is asked about a registration.
func (srv *Server) question(m *overlay.Message, client netip.Addr) inquiry.Question {
	identity, others := srv.Peers.BearerAt(m.From, client)
	b := srv.Bindings[client]
	return inquiry.Question{
		Subject: inquiry.Subject{
			Identity: identity,
			Protocol: client,
			Outer:    srv.Peers.Outer(m.From),
		},
		Others:     others,
		NBMA:       m.SourceNBMA,
		NAT:        srv.Peers.Proven(m.From).RemoteNAT,
		Registered: b != nil && !b.Static && b.Peer == m.From && b.Identity == identity,
	}
}

// objectByRuling objects to a registration that the authorizer refuses. A client that is registered
// needs no ruling to stay so.
func (srv *Server) objectByRuling(m *overlay.Message, client netip.Addr) objection.Objection {
	if !srv.Inquiries.On() {
		return objection.Objection{}
	}
	q := srv.question(m, client)
	switch r := srv.Inquiries.Of(q.Subject); {
	case r != nil && r.Refused:
		return refusal(q.Identity, r)
	case r == nil && !q.Registered:
		return objection.New(objection.AuthorizerSilent, "the authorizer has not been asked yet")
	}
	return objection.Objection{}
}

// refusal returns the objection that a ruling is.
func refusal(identity string, r *inquiry.Ruling) objection.Objection {
	switch {
	case r.Assumed:
		return objection.New(objection.AuthorizerSilent, r.Text)
	case r.Text == "":
		return objection.New(objection.AuthorizerRefuses, "the authorizer refuses "+identity)
	}
	return objection.New(objection.AuthorizerRefuses,
		"the authorizer refuses "+identity+": "+r.Text)
}

// subject returns what a ruling about a binding is about.
func (b *Binding) subject() inquiry.Subject {
	return inquiry.Subject{
		Identity: b.Identity,
		Protocol: b.Protocol,
		Outer:    b.Server.Peers.Outer(b.Peer),
	}
}

// RegisteredAs returns what to ask the authorizer about a client; false if nobody is registered so.
func (srv *Server) RegisteredAs(s inquiry.Subject) (inquiry.Question, bool) {
	b := srv.Bindings[s.Protocol]
	if b == nil || b.Static || b.subject() != s {
		return inquiry.Question{}, false
	}
	return inquiry.Question{
		Subject:    s,
		Others:     b.sharers,
		NBMA:       b.ClientNBMA,
		NAT:        srv.Peers.Proven(b.Peer).RemoteNAT,
		Registered: true,
	}, true
}

// Registered yields all clients in the order of their overlay addresses, as the authorizer is asked
// about them.
func (srv *Server) Registered() iter.Seq[inquiry.Subject] {
	return func(yield func(inquiry.Subject) bool) {
		for _, b := range ordered.Values(srv.Bindings, ordered.ByAddr) {
			if !b.Static && !yield(b.subject()) {
				return
			}
		}
	}
}

// narrow applies the ruling that there is about a client. If there is none, as after a restart or a
// move, the ruling before goes on and the authorizer is asked.
func (srv *Server) narrow(b *Binding) {
	if b.Static || !srv.Inquiries.On() && b.ruling == nil {
		return
	}
	switch r := srv.Inquiries.Of(b.subject()); {
	case !srv.Inquiries.On():
		b.ruling = nil
	case r != nil:
		b.ruling = r
	default:
		srv.Inquiries.AskAgain(b.subject())
	}
	srv.reviseDirect(b.Ref.Peer)
	for _, a := range slices.Clone(b.Prefixes) {
		if o := b.objectToRuledPrefix(a.Prefix); o.Raised() {
			srv.Announced.End(a, o.Text)
		}
	}
}

// NarrowAll applies the rulings to all clients, after the configuration has another authorizer or
// none any more.
func (srv *Server) NarrowAll() {
	for _, b := range ordered.Values(srv.Bindings, ordered.ByAddr) {
		srv.narrow(b)
	}
}

// Ruled applies a new ruling about a registered client. It returns why the client may not stay
// registered; the caller ends the binding then.
func (srv *Server) Ruled(s inquiry.Subject, r *inquiry.Ruling) (*Binding, objection.Objection) {
	b := srv.Bindings[s.Protocol]
	if r.Refused {
		return b, refusal(s.Identity, r)
	}
	srv.narrow(b)
	return b, objection.Objection{}
}

// objectToRuledPrefix objects to a prefix that the authorizer does not let a client announce.
func (b *Binding) objectToRuledPrefix(prefix netip.Prefix) objection.Objection {
	r := b.ruling
	if r == nil || !r.Bounded || slices.ContainsFunc(r.Announce, func(p netip.Prefix) bool {
		return p.Bits() <= prefix.Bits() && p.Contains(prefix.Addr())
	}) {
		return objection.Objection{}
	}
	return objection.Newf(objection.PrefixNotGiven, "the authorizer lets %s announce %s",
		b.Identity, policy.Texts(r.Announce))
}

// reviseDirect sets whether there may be direct paths to and from a peer, by the rulings about the
// clients that are registered there.
func (srv *Server) reviseDirect(p *peers.Peer) {
	if p == nil {
		return
	}
	text := ""
	for b := range BindingsOf(p) {
		if b.ruling != nil && b.ruling.NoShortcut {
			text = "the authorizer allows " + b.Identity + " no shortcut"
		}
	}
	srv.Peers.SetNoDirect(p, text)
}

// RulingOf returns what the authorizer says of a client; nil if there is no authorizer.
func (srv *Server) RulingOf(b *Binding) *report.RulingStatus {
	if !srv.Inquiries.On() || b.Static {
		return nil
	}
	st := &report.RulingStatus{Socket: srv.Config.Authorizer.Socket}
	if r := srv.Inquiries.Of(b.subject()); r != nil {
		st.Known, st.Refused, st.Text = true, r.Refused, r.Text
		st.NoShortcut, st.Ends = r.NoShortcut, r.Ends
	}
	return st
}

// ForgetRuling has the authorizer asked at the client's next registration.
func (srv *Server) ForgetRuling(b *Binding) { srv.Inquiries.Forget(b.subject()) }
