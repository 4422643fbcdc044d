package vici

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/peerstate"
	"cygnet/vici/profile"
	"cygnet/vici/salist"
	"cygnet/vici/session"
)

// appliedProfile is a profile and what charon has of it.
type appliedProfile struct {
	profile.Profile
	profile.Rules // which SAs the profile allows

	loaded  bool            // charon has the profile in its present form
	busy    bool            // the profile is being loaded
	stale   bool            // the profile must be loaded again after the load under way
	refusal string          // why charon refuses the profile, as last reported, or empty
	since   time.Time       // when the last load began
	known   map[string]bool // additional key exchanges that charon has

	revision uint64 // counts the changes of what the profile allows

	// outdated has the SAs whose algorithms only an earlier form of the profile allowed. They may
	// carry traffic until their peers have new SAs; see [renewals].
	outdated map[uint32]bool
}

// Revision implements [ike.Policy].
func (p *appliedProfile) Revision() uint64 { return p.revision }

// Accepts implements [ike.Policy]. It reports whether an SA stands, is allowed, and has a child
// that carries the tunnel's traffic.
func (p *appliedProfile) Accepts(sa *SA) bool {
	rules := p.rulesFor(sa)
	return rules.Accepts(sa)
}

// Refuses returns what the profile does not allow about an SA, or ""; see [profile.Rules.Refuses].
func (p *appliedProfile) Refuses(sa *SA) string {
	rules := p.rulesFor(sa)
	return rules.Refuses(sa)
}

// rulesFor returns the rules that hold for an SA.
func (p *appliedProfile) rulesFor(sa *SA) profile.Rules {
	if p.outdated[sa.ID] {
		return p.WithoutAlgorithms()
	}
	return p.Rules
}

// newConnection builds the argument of load-conn as this charon can have it; see
// [profile.Profile.NewConnection].
func (p *appliedProfile) newConnection(peer netip.Addr, shared bool) (*govici.Message, error) {
	return p.Offered(p.known).NewConnection(peer, shared)
}

// setProfile sets or replaces a profile; see [Client.SetProfile].
func (r *reconciler) setProfile(p profile.Profile) {
	known := r.profiles[p.Interface]
	delete(r.removed, p.Interface)
	r.marks.sweepAgain(p, known)
	takesOver := r.synced && p.Site != nil &&
		(known == nil || known.Site == nil || known.Site.Name != p.Site.Name)
	switch {
	case known == nil:
		known = &appliedProfile{Profile: p, Rules: p.Rules(), known: r.KeyExchanges,
			outdated: map[uint32]bool{}}
		r.profiles[p.Interface] = known
		if r.synced && !takesOver {
			r.adopt(p.Interface)
			r.emit(r.snapshot(p.Interface))
		}
	case reflect.DeepEqual(known.Profile, p):
		return
	default:
		replaceable := r.renewals.replaceable(p.Interface)
		known.Profile, known.Rules, known.loaded = p, p.Rules(), false
		known.revision++
		r.renewals.replaceOutdated(known, replaceable)
		r.rivals.forget(p.Interface)
	}
	if !p.Marks {
		r.sharing.forget(p.Interface)
	}
	if takesOver {
		r.takeOver(known)
		return
	}
	r.loader.load(known)
	r.review(p.Interface)
}

// takeOver makes the SAs that a site's connection has those of a new profile, before this end dials
// anybody by that profile.
func (r *reconciler) takeOver(p *appliedProfile) {
	var listed []*SA
	name := p.Site.Name
	r.do(func(ctx context.Context, s *session.Session) (err error) {
		listed, err = salist.List(ctx, s, r.times.list, "ike", name)
		return err
	}, func(err error) {
		if r.fatal(err) || r.profiles[p.Interface] != p {
			return
		}
		if err != nil {
			r.log.Warn("list-sas failed", slog.String("connection", name), slog.Any("error", err))
		}
		for _, sa := range r.own(listed) {
			if sa.Stands() {
				r.put(sa)
			}
		}
		r.adopt(p.Interface)
		r.emit(r.snapshot(p.Interface))
		r.loader.load(p)
		r.review(p.Interface)
	})
}

// adopt marks an interface's SAs in the table as reported. It sends no event, since a Snapshot
// follows.
func (r *reconciler) adopt(iface string) {
	for k := range r.index.Keys() {
		if k.Interface == iface {
			r.peer(k)
		}
	}
	for k, p := range r.peers {
		if k.Interface != iface {
			continue
		}
		sa := r.securing(k)
		p.up, p.withheld, p.reason = nil, nil, ""
		if sa == nil {
			continue
		}
		info := r.info(k, sa)
		p.up, p.upSince = &info, time.Now()
	}
}

// review examines all SAs and peers of an interface again. InitiateFirst peers come first, since
// they are dialled in this order.
func (r *reconciler) review(iface string) {
	if !r.synced {
		return
	}
	for _, sa := range r.sas {
		if sa.Interface == iface {
			r.inspect(sa)
		}
	}
	for _, first := range []bool{true, false} {
		for k, p := range r.peers {
			if k.Interface == iface && first == (p.want == InitiateFirst) {
				r.evaluate(k)
			}
		}
	}
}

// removeProfile forgets an interface and ends its SAs; see [Client.RemoveProfile].
func (r *reconciler) removeProfile(iface string) {
	if r.profiles[iface] == nil {
		return
	}
	delete(r.profiles, iface)
	r.removed[iface] = true
	r.status(func(s *Status) { delete(s.Refused, iface) })
	r.sharing.forget(iface)
	for k, p := range r.peers {
		if k.Interface == iface {
			p.want, p.up, p.withheld = None, nil, nil
			r.dialler.leave(p, peerstate.Stop)
			r.step(p)
		}
	}
	r.loader.unloadTemplate(iface)
	r.endRemoved()
}

// endRemoved ends the SAs of interfaces whose profile was removed. While charon is away it does
// nothing: an SA would count as ending although charon was not told.
func (r *reconciler) endRemoved() {
	if !r.synced {
		return
	}
	for _, sa := range r.sas {
		if r.removed[sa.Interface] {
			r.inspect(sa)
		}
	}
}

// unloadTemplate unloads an interface's template.
func (l *loader) unloadTemplate(iface string) {
	name := profile.ConnectionName(iface, netip.Addr{})
	l.do(func(ctx context.Context, s *session.Session) error {
		return s.UnloadConnection(ctx, l.times.command, name)
	}, func(err error) {
		if l.fatal(err) {
			return
		}
		// If the profile was set again in the meantime, another session may have loaded it before
		// this unloading. So load it again.
		if again := l.profiles[iface]; again != nil {
			l.load(again)
		}
	})
}

// loader keeps the profiles loaded in charon.
type loader struct {
	*table
	marks   *marks
	sharing *sharing
	review  func(iface string) // examines an interface's SAs and peers again
}

// load loads a profile's secret, template and connections for shared addresses, and tries again
// until charon takes them.
func (l *loader) load(p *appliedProfile) {
	if !l.synced || p.busy {
		p.stale = true
		return
	}
	if l.sharing.has(p.Interface) && !l.marks.may() {
		p.stale = true
		return
	}
	p.busy, p.stale, p.since = true, false, time.Now()
	template, templateErr := p.newConnection(netip.Addr{}, false)
	psk, pskErr := p.NewSharedKey()
	withPSK, command := len(p.PSK) > 0, l.times.command
	shared, sharedConns := l.sharing.connections(p)
	l.do(func(ctx context.Context, s *session.Session) error {
		if withPSK {
			if pskErr != nil {
				return pskErr
			}
			if err := s.LoadSecret(ctx, command, psk); err != nil {
				return err
			}
		}
		if templateErr != nil {
			return templateErr
		}
		for _, conn := range sharedConns {
			if err := s.LoadConnection(ctx, command, conn); err != nil {
				return err
			}
		}
		return s.LoadConnection(ctx, command, template)
	}, func(err error) {
		p.busy = false
		switch {
		case l.fatal(err) || l.profiles[p.Interface] != p:
		case p.stale:
			l.load(p)
		case err != nil:
			l.refused(p, err)
		default:
			if p.refusal != "" {
				p.refusal = ""
				l.status(func(s *Status) { s.LastError = ""; delete(s.Refused, p.Interface) })
			}
			for _, a := range shared {
				l.sharing.loaded(a)
			}
			if !p.loaded {
				p.loaded = true
				l.review(p.Interface)
			}
		}
	})
}

// refused reports that charon does not take a profile, and tries again later.
func (l *loader) refused(p *appliedProfile, err error) {
	l.after(l.times.profileRetry, func() {
		if l.profiles[p.Interface] == p && !p.loaded {
			l.load(p)
		}
	})
	if p.refusal == err.Error() {
		return
	}
	p.refusal = err.Error()
	reason := fmt.Sprintf(
		"charon does not take the IPsec profile of %s: %v: check the profile, and with certificates that their files are there",
		p.Interface, err)
	l.log.Error("IPsec profile refused", slog.String("interface", p.Interface),
		slog.Any("error", err))
	l.status(func(s *Status) {
		s.LastError = reason
		if s.Refused == nil {
			s.Refused = make(map[string]string)
		}
		s.Refused[p.Interface] = err.Error()
	})
	for k, peer := range l.peers {
		if k.Interface == p.Interface && peer.want.dials() && peer.up == nil {
			l.emit(Failed{k, reason})
		}
	}
}
