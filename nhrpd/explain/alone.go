package explain

import (
	"context"
	"net/netip"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/status"
	"cygnet/vici"
	"cygnet/vici/salist"
)

// Charon lists the SAs of a charon.
type Charon func(ctx context.Context) ([]api.SA, error)

// charonTimeout bounds how long charon may take for its list.
const charonTimeout = 5 * time.Second

// CharonAt returns a function that asks the charon which listens on a socket.
func CharonAt(socket string) Charon {
	return func(ctx context.Context) ([]api.SA, error) {
		sas, err := salist.From(ctx, socket, charonTimeout)
		if err != nil {
			return nil, err
		}
		return status.SAs(sas, vici.Status{Connected: true},
			func(group string) []string { return []string{group} }), nil
	}
}

// Alone gives the account of the way to an address without the daemon: what the kernel and charon
// show. source is only named: without the daemon nobody tells what a hub knows of a pair.
func Alone(
	ctx context.Context, k Kernel, charon Charon, now time.Time, dest, source netip.Addr,
) (*api.Explanation, error) {
	vrfs, err := k.VRFs()
	if err != nil {
		return nil, err
	}
	w, err := k.WayInto(dest, vrfs, func(w *Way) bool { return w.GRE })
	if err != nil {
		return nil, err
	}
	x := &api.Explanation{Destination: dest, Source: source, Now: now}
	x.Steps = append(x.Steps, api.ExplainStep{Kind: api.StepRoute, Route: &w.Route})
	switch {
	case w.Route.Error != "":
		x.Verdict = api.ExplainedVerdict{Path: api.PathNone, Reason: api.ReasonNoRoute}
		return x, nil
	case w.Route.Device == "":
		x.Verdict = api.ExplainedVerdict{Path: api.PathElsewhere}
		return x, nil
	}
	tunnel := &api.ExplainedTunnel{
		Interface: w.Route.Device, GRE: w.GRE, Up: w.Up, NBMA: w.Local}
	x.Steps = append(x.Steps, api.ExplainStep{Kind: api.StepTunnel, Tunnel: tunnel})
	if !w.GRE {
		x.Verdict = api.ExplainedVerdict{Path: api.PathElsewhere}
		return x, nil
	}
	hop := &api.ExplainedNextHop{Protocol: w.NextHop(dest)}
	x.Steps = append(x.Steps,
		api.ExplainStep{Kind: api.StepNextHop, Of: api.RoleWay, NextHop: hop})
	n, ok, err := k.Neighbor(w.Route.Device, hop.Protocol)
	if err != nil {
		return nil, err
	}
	if ok {
		hop.Ours = n.Ours
		sa, err := k.router(ctx, charon, tunnel, hop, n.NBMA)
		if err != nil {
			return nil, err
		}
		if sa != nil {
			x.Steps = append(x.Steps, api.ExplainStep{Kind: api.StepSA, Of: api.RoleWay, SA: sa})
		}
	}
	x.Verdict = api.ExplainedVerdict{Path: api.PathUnknown}
	if !ok || hop.NeighborDrops {
		x.Verdict = api.ExplainedVerdict{Path: api.PathNone, Reason: api.ReasonNoBinding}
	}
	return x, nil
}

// router fills in which router the kernel's neighbour at a link-layer address stands for, and from
// where the tunnel sends to it. It returns what charon and the kernel have of the SAs with that
// router; nil if the address leads to none.
func (k Kernel) router(
	ctx context.Context, charon Charon, tunnel *api.ExplainedTunnel, hop *api.ExplainedNextHop,
	at netip.Addr,
) (*api.ExplainedSA, error) {
	p, local, err := k.standsFor(at, tunnel.Interface, tunnel.NBMA)
	if err != nil {
		return nil, err
	}
	if p == (Peer{}) {
		hop.NeighborDrops = true
		return nil, nil
	}
	sa := &api.ExplainedSA{Mark: p.Mark, Kernel: []api.ESPState{}}
	sas, err := charon(ctx)
	if err != nil {
		sa.CharonError = err.Error()
	}
	if p.Mark != 0 {
		p.NBMA, err = k.outerOf(p.Mark, local, sas)
		hop.NeighborDrops = err == nil && !p.NBMA.IsValid()
	}
	tunnel.NBMA, sa.NBMA = local, p.NBMA
	hop.NBMA, hop.Mark, hop.Neighbor, hop.NeighborMark = p.NBMA, p.Mark, p.NBMA, p.Mark
	sa.Charon = With(sas, p)
	states, err := k.StatesWith([]netip.Addr{local}, p)
	if err != nil {
		sa.KernelError = err.Error()
	} else {
		sa.Kernel = states
	}
	return sa, nil
}
