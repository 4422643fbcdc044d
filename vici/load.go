package vici

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"time"

	govici "github.com/strongswan/govici/vici"
)

// profile is a Profile and what charon knows of it.
type profile struct {
	Profile
	loaded  bool            // charon has it, as it is
	busy    bool            // being loaded
	stale   bool            // to be loaded again when done
	refusal string          // why charon does not take it, as told
	since   time.Time       // of the last load
	allowed allowed         // of its SAs
	known   map[string]bool // additional key exchanges that charon has

	revision uint64 // counts its changes
}

// connection builds the argument of load-conn as this charon can have it; see [Profile.connection].
func (p *profile) connection(peer netip.Addr, shared bool) (*govici.Message, error) {
	return p.offered(p.known).connection(peer, shared)
}

// from tells whether an SA's local address is one that the tunnel sends from.
func (p *profile) from(a netip.Addr) bool {
	return len(p.LocalAddrs) == 0 || slices.Contains(p.LocalAddrs, a)
}

// protects tells whether a child of an SA carries the tunnel's traffic.
func (p *profile) protects(sa *SA, c Child) bool {
	switch c.State {
	case "INSTALLED", "REKEYING", "REKEYED", "UPDATING":
		return c.Mode == p.allowed.mode && p.allowed.refusesChild(sa, c) == ""
	}
	return false
}

// good tells whether an SA counts.
func (p *profile) good(sa *SA) bool {
	return sa.established() && p.from(sa.LocalHost) && (p.Marks || sa.Mark() == 0) && p.allowed.refusesIKE(sa) == "" &&
		slices.ContainsFunc(sa.Children, func(c Child) bool { return p.protects(sa, c) })
}

// refuses says what must not be of an SA; empty: nothing.
func (p *profile) refuses(sa *SA) string {
	if wrong := p.allowed.refusesIKE(sa); wrong != "" {
		return wrong
	}
	for _, c := range sa.Children {
		if wrong := p.allowed.refusesChild(sa, c); wrong != "" {
			return wrong
		}
	}
	return ""
}

func (r *reconciler) setProfile(p Profile) {
	known := r.profiles[p.Interface]
	r.sweepAgain(p, known)
	takesOver := r.synced && p.Site != nil && (known == nil || known.Site == nil || known.Site.Name != p.Site.Name)
	switch {
	case known == nil:
		known = &profile{Profile: p, allowed: allowedBy(p), known: r.keyExchanges}
		r.profiles[p.Interface] = known
		if r.synced && !takesOver {
			r.adopt(p.Interface)
			r.emit(r.snapshot(p.Interface))
		}
	case reflect.DeepEqual(known.Profile, p):
		return
	default:
		known.Profile, known.loaded, known.allowed = p, false, allowedBy(p)
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

// adopt takes the table's SAs of an interface for what they are, without an event.
func (r *reconciler) adopt(iface string) {
	for k := range r.index.byPeer {
		if k.Interface == iface {
			r.peer(k)
		}
	}
	for k, p := range r.peers {
		if k.Interface != iface {
			continue
		}
		sa := r.securing(k)
		p.up, p.hold, p.reason = nil, nil, ""
		if sa == nil {
			continue
		}
		info := r.info(k, sa)
		p.up, p.upSince = &info, time.Now()
	}
}

// review looks at all SAs and peers of an interface anew, at the peers that are first before the others: they are dialled in that order.
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

func (r *reconciler) removeProfile(iface string) {
	if r.profiles[iface] == nil {
		return
	}
	delete(r.profiles, iface)
	r.status(func(s *Status) { delete(s.Refused, iface) })
	r.forgetShared(iface)
	for k, p := range r.peers {
		if k.Interface == iface {
			p.want, p.up, p.hold = None, nil, nil
			r.endAttempt(p)
			r.settle(p)
		}
	}
	r.unloadTemplate(iface)
}

func (r *reconciler) unloadTemplate(iface string) {
	name := connName(iface, netip.Addr{})
	r.do(func(ctx context.Context, s *session) error {
		return unloadConn(ctx, s, r.times.command, name)
	}, func(err error) {
		if r.fatal(err) {
			return
		}
		if again := r.profiles[iface]; again != nil { // set meanwhile, and loaded on another session: before or after, who knows
			r.load(again)
		}
	})
}

// load brings a profile's secret and template to charon, again and again until it takes them.
func (r *reconciler) load(p *profile) {
	if !r.synced || p.busy {
		p.stale = true
		return
	}
	if r.hasShared(p.Interface) && !r.mayMark() {
		p.stale = true
		return
	}
	p.busy, p.stale, p.since = true, false, time.Now()
	template, templateErr := p.connection(netip.Addr{}, false)
	psk, pskErr := p.sharedKey()
	withPSK, command := len(p.PSK) > 0, r.times.command
	shared, sharedConns := r.sharedConns(p)
	r.do(func(ctx context.Context, s *session) error {
		if withPSK {
			if pskErr != nil {
				return pskErr
			}
			if _, err := s.call(ctx, command, "load-shared", psk); err != nil {
				return err
			}
		}
		if templateErr != nil {
			return templateErr
		}
		for _, conn := range sharedConns {
			if _, err := s.call(ctx, command, "load-conn", conn); err != nil {
				return err
			}
		}
		_, err := s.call(ctx, command, "load-conn", template)
		return err
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

func (r *reconciler) profileRefused(p *profile, err error) {
	r.after(r.times.profileRetry, func() {
		if r.profiles[p.Interface] == p && !p.loaded {
			r.load(p)
		}
	})
	if p.refusal == err.Error() {
		return
	}
	p.refusal = err.Error()
	reason := fmt.Sprintf("charon does not take the IPsec profile of %s: %v: check the profile, and with certificates that their files are there", p.Interface, err)
	r.log.Error("IPsec profile refused", slog.String("interface", p.Interface), slog.Any("error", err))
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
