package nhrpd

import (
	"context"
	"log/slog"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/authorizer"
	"cygnet/nhrpd/engine"
)

// rulings hands the loop what the authorizer of an interface says. It waits for a place in the
// loop's queue: the authorizer then waits, too.
type rulings struct {
	loop  *loop
	iface string
}

// Connected implements [authorizer.Handler].
func (r rulings) Connected(ctx context.Context) {
	r.loop.post(ctx, engine.AuthorizerUp{Interface: r.iface})
}

// Answered implements [authorizer.Handler].
func (r rulings) Answered(ctx context.Context, a authorizer.Answer) {
	r.loop.post(ctx, engine.Ruling{
		Interface:  r.iface,
		Inquiry:    a.ID,
		Refused:    a.Refused,
		Text:       a.Reason,
		Lifetime:   a.Lifetime,
		Bounded:    a.Bounded,
		Announce:   a.Announce,
		NoShortcut: a.NoShortcut,
	})
}

// Recheck implements [authorizer.Handler].
func (r rulings) Recheck(ctx context.Context, identity string) {
	r.loop.post(ctx, engine.Recheck{Interface: r.iface, Identity: identity})
}

// newAuthorizer returns the client of an interface's authorizer. Without an authorizer, the client
// waits until a reload gives it one.
func newAuthorizer(l *loop, log *slog.Logger, iface, socket string) *authorizer.Client {
	c := authorizer.New(log, rulings{l, iface})
	c.Use(socket)
	return c
}

// askAuthorizers asks what the engine wants to know of the authorizers.
func (l *loop) askAuthorizers() {
	for n := range l.out.Inquiries {
		q := &l.out.Inquiries[n]
		i := l.interfaces[q.Interface]
		if i == nil || i.runner == nil {
			continue // the engine asks again when there is a connection
		}
		i.runner.authorizer.Ask(q.Socket, authorizer.Question{
			ID:         q.Number,
			Interface:  q.Interface,
			Identity:   q.Identity,
			SharedWith: q.Others,
			Address:    q.Protocol,
			NBMA:       q.Outer,
			ClientNBMA: q.NBMA,
			NAT:        q.NAT,
			Registered: q.Registered,
		})
	}
}

// addAuthorizer adds to the status of an interface what its client knows of the authorizer.
func (i *iface) addAuthorizer(out *api.Authorizer) {
	if out == nil {
		return
	}
	st := i.runner.authorizer.State()
	out.Connected, out.Since, out.Error = st.Connected, st.Since, st.Error
	out.Dropped, out.Malformed = st.Dropped, st.Malformed
}
