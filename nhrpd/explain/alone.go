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
	w, err := k.Way(dest, "")
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
	x.Steps = append(x.Steps, api.ExplainStep{Kind: api.StepTunnel, Tunnel: &api.ExplainedTunnel{
		Interface: w.Route.Device, GRE: w.GRE, Up: w.Up, NBMA: w.Local}})
	if !w.GRE {
		x.Verdict = api.ExplainedVerdict{Path: api.PathElsewhere}
		return x, nil
	}
	x.Verdict = api.ExplainedVerdict{Path: api.PathUnknown}
	hop := &api.ExplainedNextHop{Protocol: w.NextHop(dest)}
	x.Steps = append(x.Steps,
		api.ExplainStep{Kind: api.StepNextHop, Of: api.RoleWay, NextHop: hop})
	n, ok, err := k.Neighbor(w.Route.Device, hop.Protocol)
	if err != nil {
		return nil, err
	}
	if !ok {
		x.Verdict = api.ExplainedVerdict{Path: api.PathNone, Reason: api.ReasonNoBinding}
		return x, nil
	}
	hop.Neighbor, hop.NBMA, hop.Ours = n.NBMA, n.NBMA, n.Ours
	sa := &api.ExplainedSA{NBMA: n.NBMA, Charon: []api.SA{}, Kernel: []api.ESPState{}}
	x.Steps = append(x.Steps, api.ExplainStep{Kind: api.StepSA, Of: api.RoleWay, SA: sa})
	sas, err := charon(ctx)
	if err != nil {
		sa.CharonError = err.Error()
	}
	sa.Charon = With(sas, n.NBMA, 0)
	if sa.Kernel, err = k.StatesWith([]netip.Addr{w.Local}, n.NBMA); err != nil {
		sa.Kernel, sa.KernelError = []api.ESPState{}, err.Error()
	}
	return x, nil
}

// With returns the SAs with a peer, by its address, and by its mark if that is not 0.
func With(sas []api.SA, nbma netip.Addr, mark uint32) []api.SA {
	list := []api.SA{}
	for _, sa := range sas {
		if sa.Remote != nbma {
			continue
		}
		marked := mark == 0
		for i := range sa.Children {
			marked = marked || sa.Children[i].Mark == mark
		}
		if marked {
			list = append(list, sa)
		}
	}
	return list
}
