package vici

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/ike"
	"cygnet/vici/peerstate"
	"cygnet/vici/profile"
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

	revision uint64 // counts the changes of the profile
}

// Revision implements [ike.Policy].
func (p *appliedProfile) Revision() uint64 { return p.revision }

// newConnection builds the argument of load-conn as this charon can have it; see
// [profile.Profile.NewConnection].
func (p *appliedProfile) newConnection(peer netip.Addr, shared bool) (*govici.Message, error) {
	return p.Offered(p.known).NewConnection(peer, shared)
}

// protecting returns the SAs with a peer, evaluated by the profile of its interface.
func (r *reconciler) protecting(k Key) *ike.Group {
	if p := r.profiles[k.Interface]; p != nil {
		return r.index.Group(k, p)
	}
	return r.index.Group(k, nil)
}

// setProfile sets or replaces a profile; see [Client.SetProfile].
func (r *reconciler) setProfile(p profile.Profile) {
	known := r.profiles[p.Interface]
	delete(r.removed, p.Interface)
	r.sweepAgain(p, known)
	takesOver := r.synced && p.Site != nil &&
		(known == nil || known.Site == nil || known.Site.Name != p.Site.Name)
	switch {
	case known == nil:
		known = &appliedProfile{Profile: p, Rules: p.Rules(), known: r.KeyExchanges}
		r.profiles[p.Interface] = known
		if r.synced && !takesOver {
			r.adopt(p.Interface)
			r.emit(r.snapshot(p.Interface))
		}
	case reflect.DeepEqual(known.Profile, p):
		return
	default:
		known.Profile, known.Rules, known.loaded = p, p.Rules(), false
		known.revision++
		r.forgetRivals(p.Interface)
	}
	if !p.Marks {
		r.forgetShared(p.Interface)
	}
	if takesOver {
		r.takeOver(known)
		return
	}
	r.load(known)
	r.review(p.Interface)
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
	r.forgetShared(iface)
	for k, p := range r.peers {
		if k.Interface == iface {
			p.want, p.up, p.withheld = None, nil, nil
			r.leaveAttempt(p, peerstate.Stop)
			r.step(p)
		}
	}
	r.unloadTemplate(iface)
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
func (r *reconciler) unloadTemplate(iface string) {
	name := profile.ConnectionName(iface, netip.Addr{})
	r.do(func(ctx context.Context, s *session.Session) error {
		return s.UnloadConnection(ctx, r.times.command, name)
	}, func(err error) {
		if r.fatal(err) {
			return
		}
		// If the profile was set again in the meantime, another session may have loaded it before
		// this unloading. So load it again.
		if again := r.profiles[iface]; again != nil {
			r.load(again)
		}
	})
}

// load loads a profile's secret, template and connections for shared addresses, and tries again
// until charon takes them.
func (r *reconciler) load(p *appliedProfile) {
	if !r.synced || p.busy {
		p.stale = true
		return
	}
	if r.hasShared(p.Interface) && !r.mayMark() {
		p.stale = true
		return
	}
	p.busy, p.stale, p.since = true, false, time.Now()
	template, templateErr := p.newConnection(netip.Addr{}, false)
	psk, pskErr := p.NewSharedKey()
	withPSK, command := len(p.PSK) > 0, r.times.command
	shared, sharedConns := r.sharedConns(p)
	r.do(func(ctx context.Context, s *session.Session) error {
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
		case r.fatal(err) || r.profiles[p.Interface] != p:
		case p.stale:
			r.load(p)
		case err != nil:
			r.profileRefused(p, err)
		default:
			if p.refusal != "" {
				p.refusal = ""
				r.status(func(s *Status) { s.LastError = ""; delete(s.Refused, p.Interface) })
			}
			for _, a := range shared {
				r.sharedLoaded(a)
			}
			if !p.loaded {
				p.loaded = true
				r.review(p.Interface)
			}
		}
	})
}

// profileRefused reports that charon does not take a profile, and tries again later.
func (r *reconciler) profileRefused(p *appliedProfile, err error) {
	r.after(r.times.profileRetry, func() {
		if r.profiles[p.Interface] == p && !p.loaded {
			r.load(p)
		}
	})
	if p.refusal == err.Error() {
		return
	}
	p.refusal = err.Error()
	reason := fmt.Sprintf(
		"charon does not take the IPsec profile of %s: %v: check the profile, and with certificates that their files are there",
		p.Interface, err)
	r.log.Error("IPsec profile refused", slog.String("interface", p.Interface),
		slog.Any("error", err))
	r.status(func(s *Status) {
		s.LastError = reason
		if s.Refused == nil {
			s.Refused = make(map[string]string)
		}
		s.Refused[p.Interface] = err.Error()
	})
	for k, peer := range r.peers {
		if k.Interface == p.Interface && peer.want.dials() && peer.up == nil {
			r.emit(Failed{k, reason})
		}
	}
}
