package nhrpd

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/sizesearch"
	"cygnet/nhrpd/status"
)

// The longest times that the daemon waits for what the administrator asked for.
const (
	resolveWait  = 10 * time.Second // a question is repeated after 1, 3 and 7 s
	registerWait = 5 * time.Second
	pingWait     = 3 * time.Second // longer than the engine waits
)

// Resolve asks for a direct path to an address now, and waits for what comes of it; see api.Daemon.
func (d *Daemon) Resolve(ctx context.Context, dest netip.Addr) (*api.Explanation, error) {
	way, err := d.kernelWay(ctx, dest)
	if err != nil {
		return nil, err
	}
	device, refused := way.Route.Device, "the route there does not lead through a tunnel of ours"
	var begun time.Time
	_, err = d.loop.await(ctx, resolveWait, func(now time.Time) {
		if i := d.loop.interfaces[device]; i != nil && i.runner != nil {
			begun = now
			refused = d.loop.engine.Resolve(now, device, dest, &d.loop.out)
		}
	}, func() bool {
		return refused != "" || d.loop.resolved(device, dest, begun)
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("resolve %s: %w", dest, err)
	case refused != "":
		return nil, fmt.Errorf("resolve %s: %w: %s", dest, api.ErrRefused, refused)
	}
	d.log.Info("asked for a direct path by hand", "interface", device, "destination", dest)
	return d.Explain(ctx, dest, netip.Addr{})
}

// resolved reports whether the question for an address that began at a time has an outcome.
func (l *loop) resolved(device string, dest netip.Addr, begun time.Time) bool {
	x, ok := l.engine.Explain(begun, device, netip.Addr{}, dest)
	if !ok || x.Question == nil {
		return true
	}
	answered := !x.Question.Answered.Before(begun)
	switch x.Verdict {
	case engine.VerdictAsking, engine.VerdictSecuring, engine.VerdictProving:
		return false
	case engine.VerdictDirect:
		return answered
	}
	return true
}

// Ping sends NHRP packets to a router and waits for each answer; see api.Daemon. If the router
// answers no probe, it may be of another vendor, and gets a plain question.
func (d *Daemon) Ping(
	ctx context.Context, address netip.Addr, search bool,
) (*api.PingResult, error) {
	var to engine.Pinged
	found, protected := false, false
	err := d.loop.call(ctx, func(time.Time) {
		if to, found = d.loop.engine.FindRouter(address); !found {
			return
		}
		if i := d.loop.interfaces[to.Interface]; i != nil {
			protected = i.config.Protected
		}
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("ping %s: %w", address, err)
	case !found:
		return nil, fmt.Errorf("ping %s: %w: this router knows no router there; "+
			"a router that is not known yet is found with \"cygnet resolve\"",
			address, api.ErrRefused)
	}
	p := pinging{d: d, to: to, result: &api.PingResult{Interface: to.Interface,
		Protocol: to.Protocol, NBMA: to.Outer, Identity: to.Identity, Protected: protected,
		MTU: to.MTU, Trips: []api.PingTrip{}}}
	if err := p.run(ctx, search); err != nil {
		return nil, fmt.Errorf("ping %s: %w", address, err)
	}
	return p.result, nil
}

// pinging is a ping under way.
type pinging struct {
	d      *Daemon
	to     engine.Pinged
	result *api.PingResult
}

// run sends a small probe, twice if need be, and one of the tunnel's MTU. With search it finds what
// passes if that one does not. It sends a plain question if nothing was answered.
func (p *pinging) run(ctx context.Context, search bool) error {
	for range 2 {
		small, err := p.send(ctx, false, 0)
		if err != nil {
			return err
		}
		if !small[0].Answered() {
			continue
		}
		full, err := p.large(ctx)
		if err != nil || full.Answered() || full.Size == 0 || !search {
			return err
		}
		return p.search(ctx, small[0].Size, full.Size)
	}
	_, err := p.send(ctx, true, 0)
	return err
}

// large sends a packet of the tunnel's MTU, and once more if it has no answer: one packet may be
// lost by chance. It returns the last of the two.
func (p *pinging) large(ctx context.Context) (api.PingTrip, error) {
	for last := false; ; last = true {
		full, err := p.send(ctx, false, p.to.MTU)
		if err != nil {
			return api.PingTrip{}, err
		}
		if full[0].Answered() || full[0].Size == 0 || last {
			return full[0], nil
		}
	}
}

// search finds the longest packet that passes, where one size passed and another was lost.
func (p *pinging) search(ctx context.Context, passed, lost int) error {
	s := sizesearch.New(passed, lost)
	for sizes := s.Next(); len(sizes) > 0; sizes = s.Next() {
		trips, err := p.send(ctx, false, sizes...)
		if err != nil {
			return err
		}
		for n := range trips {
			s.Took(trips[n].Size, trips[n].Answered())
		}
	}
	return nil
}

// send sends packets to a router, and waits until each is answered or lost. A size of 0 stands for
// the shortest packet.
func (p *pinging) send(ctx context.Context, plain bool, sizes ...int) ([]api.PingTrip, error) {
	pings := make([]*engine.Ping, len(sizes))
	var trips []api.PingTrip
	_, err := p.d.loop.await(ctx, pingWait, func(now time.Time) {
		for n, size := range sizes {
			pings[n] = p.d.loop.engine.Ping(now, p.to, plain, size, &p.d.loop.out)
		}
	}, func() bool {
		trips = trips[:0]
		for _, ping := range pings {
			if ping != nil && !ping.Over {
				return false
			}
			if ping != nil {
				trips = append(trips, trip(ping, plain))
			}
		}
		return true
	})
	if err == nil && len(trips) < len(pings) {
		err = fmt.Errorf("%w: too many are under way", api.ErrRefused)
	}
	p.result.Trips = append(p.result.Trips, trips...)
	return trips, err
}

// trip returns what became of a packet.
func trip(ping *engine.Ping, plain bool) api.PingTrip {
	t := api.PingTrip{Plain: plain, Size: ping.Size}
	if !ping.Answered.IsZero() {
		t.Seconds = max(ping.Answered.Sub(ping.Sent), time.Microsecond).Seconds()
	}
	return t
}

// clearables has the engine's word for each kind of state that Clear ends.
var clearables = map[api.Clearable]engine.Clearable{
	api.ClearShortcut: engine.ClearShortcut,
	api.ClearPeer:     engine.ClearPeer,
	api.ClearBinding:  engine.ClearBinding,
}

// Clear ends shortcuts, SAs or a binding; see api.Daemon.
func (d *Daemon) Clear(
	ctx context.Context, what api.Clearable, address netip.Addr,
) ([]api.Cleared, error) {
	kind, ok := clearables[what]
	if !ok {
		return nil, fmt.Errorf("%w: there is no %q to clear; allowed are shortcut, peer, binding",
			api.ErrRefused, what)
	}
	var cleared []engine.Cleared
	err := d.loop.call(ctx, func(now time.Time) {
		cleared = d.loop.engine.Clear(now, kind, address, &d.loop.out)
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("clear %s %s: %w", what, address, err)
	case len(cleared) == 0:
		return nil, fmt.Errorf("clear %s %s: %w: there is none", what, address, api.ErrRefused)
	}
	d.log.Info("cleared by hand", "what", what, "address", address, "number", len(cleared))
	return status.Cleared(what, cleared), nil
}

// Register registers at once with the next hop servers of an interface, or of all if the name is
// empty, and waits for their replies; see api.Daemon.
func (d *Daemon) Register(ctx context.Context, iface string) ([]api.NHS, error) {
	var begun time.Time
	count, known := 0, false
	_, err := d.loop.await(ctx, registerWait, func(now time.Time) {
		begun = now
		for i := range d.loop.opened() {
			known = known || iface == "" || i.name == iface
		}
		count = d.loop.engine.RegisterNow(now, iface, &d.loop.out)
	}, func() bool { return count == 0 || d.loop.registeredSince(iface, begun) })
	switch {
	case err != nil:
		return nil, fmt.Errorf("register: %w", err)
	case !known:
		return nil, fmt.Errorf("register on %s: %w", iface, api.ErrNoInterface)
	case count == 0:
		return nil, fmt.Errorf("register: %w: there is no next hop server that is used",
			api.ErrRefused)
	}
	var list []api.NHS
	err = d.loop.call(ctx, func(time.Time) {
		interfaces := d.loop.engine.Status()
		for n := range interfaces {
			name := interfaces[n].Name
			if iface != "" && iface != name {
				continue
			}
			for _, nhs := range status.Interface(&interfaces[n]).NHS {
				nhs.Interface = name
				list = append(list, nhs)
			}
		}
	})
	return list, err
}

// registeredSince reports whether each NHS that is used has replied since a time.
func (l *loop) registeredSince(iface string, begun time.Time) bool {
	for _, i := range l.engine.Status() {
		if iface != "" && i.Name != iface {
			continue
		}
		for _, n := range i.NHS {
			for _, r := range n.Registrations {
				replied := !r.Registered.Before(begun)
				if r.State == engine.NHSRefused {
					replied = r.Asked.IsZero() // no request waits any more
				}
				if n.Use != engine.UseReserve && !replied {
					return false
				}
			}
		}
	}
	return true
}
