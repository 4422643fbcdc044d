package nhrpd

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/explain"
	"cygnet/nhrpd/status"
)

// Explain gives the account of why packets to an address go the way they go; see api.Daemon. The
// kernel's route decides which interface the account is about.
func (d *Daemon) Explain(ctx context.Context, dest, source netip.Addr) (*api.Explanation, error) {
	way, err := d.kernelWay(ctx, dest)
	if err != nil {
		return nil, err
	}
	x := &api.Explanation{Destination: dest, Source: source, Daemon: true}
	x.Steps = []api.ExplainStep{{Kind: api.StepRoute, Route: &way.Route}}
	found, locals, marked := false, []netip.Addr{way.Local}, map[uint32]netip.Addr(nil)
	err = d.loop.call(ctx, func(now time.Time) {
		x.Now = now
		found = d.loop.explain(x, &way, dest, source)
		if i := d.loop.interfaces[way.Route.Device]; found && i != nil {
			locals, marked = i.state.Addresses(), maps.Clone(i.marked)
		}
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the state: %w", err)
	case !found && way.Route.Error != "":
		x.Verdict = api.ExplainedVerdict{Path: api.PathNone, Reason: api.ReasonNoRoute}
	case !found:
		x.Verdict = api.ExplainedVerdict{Path: api.PathElsewhere}
	}
	return x, d.addEvidence(ctx, x, locals, marked)
}

// kernelWay returns the route that the kernel takes. If that of the host's own table does not lead
// into a tunnel of ours, it looks in the VRFs of our tunnels, too.
func (d *Daemon) kernelWay(ctx context.Context, dest netip.Addr) (explain.Way, error) {
	devices, vrfs := make(map[string]bool), []string{}
	err := d.loop.call(ctx, func(time.Time) {
		for i := range d.loop.opened() {
			devices[i.name] = true
			if vrf := i.state.Master; vrf != "" && !slices.Contains(vrfs, vrf) {
				vrfs = append(vrfs, vrf)
			}
		}
	})
	if err != nil {
		return explain.Way{}, fmt.Errorf("read the state: %w", err)
	}
	return d.platform.Explain.WayInto(dest, vrfs,
		func(w *explain.Way) bool { return devices[w.Route.Device] })
}

// explain adds to an account what the loop's state shows. It returns false if the way leads into no
// tunnel of ours. A tunnel that this router has left is still one of ours: where the site made it,
// the tunnel and the site's routes through it stay.
func (l *loop) explain(x *api.Explanation, way *explain.Way, dest, source netip.Addr) bool {
	account, ok := l.engine.Explain(x.Now, way.Route.Device, source, dest)
	if ok && account.Left {
		x.Steps = append(x.Steps, api.ExplainStep{Kind: api.StepTunnel,
			Tunnel: status.ExplainedTunnel(&account)})
		x.Verdict = status.Verdict(&account)
		return true
	}
	i := l.interfaces[way.Route.Device]
	if !ok || i == nil || i.runner == nil {
		return false
	}
	tunnel := status.ExplainedTunnel(&account)
	tunnel.Up, tunnel.Error = i.state.Up, i.fault
	x.Steps = append(x.Steps, api.ExplainStep{Kind: api.StepTunnel, Tunnel: tunnel})
	about := func(of api.RouterRole, h *engine.Hop) {
		if h != nil && h.NextHop.IsValid() {
			x.Steps = append(x.Steps,
				status.ExplainedRouter(&account, of, h, i.admission(), i.admissionReason())...)
		}
	}
	if account.Pair != nil {
		about(api.RoleSource, &account.Pair.From)
	}
	about(api.RoleWay, &account.Way)
	if account.Shortcut != nil && account.Shortcut.State != engine.ShortcutResolving {
		x.Steps = append(x.Steps, api.ExplainStep{Kind: api.StepShortcut,
			Shortcut: status.ExplainedShortcut(&account)})
	}
	if q := account.Question; q != nil {
		x.Steps = append(x.Steps, api.ExplainStep{Kind: api.StepQuestion,
			Question: status.ExplainedQuestion(q, true)})
	}
	if account.Pair != nil && account.Pair.Question != nil {
		x.Steps = append(x.Steps, api.ExplainStep{Kind: api.StepQuestion,
			Question: status.ExplainedQuestion(account.Pair.Question, false)})
	}
	about(api.RoleDirect, account.Direct)
	x.Verdict = status.Verdict(&account)
	return true
}

// Pairs returns what the engine remembers of the paths between other routers; see api.Daemon.
func (d *Daemon) Pairs(ctx context.Context) ([]api.Pair, error) {
	var all []api.Pair
	err := d.loop.call(ctx, func(time.Time) {
		for i := range d.loop.opened() {
			all = append(all, status.Pairs(i.name, d.loop.engine.Pairs(i.name))...)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	return all, nil
}

// addEvidence adds to an account what the kernel has of each router, and what charon and the kernel
// have of the SAs. What cannot be read is said in the step.
// locals are the addresses that the tunnel sends from, and marked has the outer addresses of its
// marked peers.
func (d *Daemon) addEvidence(
	ctx context.Context, x *api.Explanation, locals []netip.Addr, marked map[uint32]netip.Addr,
) error {
	var sas []api.SA
	var asked error
	if slices.ContainsFunc(x.Steps, func(s api.ExplainStep) bool { return s.SA != nil }) {
		if sas, asked = d.SAs(ctx); asked == nil {
			if st := d.groups.Status(d.strongswan.Status()); !st.Connected {
				asked = fmt.Errorf("charon does not answer, so this is its list of %s: %s",
					st.Since.UTC().Format(time.RFC3339), st.LastError)
			}
		}
	}
	device := ""
	for n := range x.Steps {
		s := &x.Steps[n]
		switch {
		case s.Tunnel != nil:
			device = s.Tunnel.Interface
		case s.NextHop != nil:
			entry, ok, err := d.platform.Explain.Neighbor(device, s.NextHop.Protocol)
			if err != nil {
				return err
			}
			if ok {
				s.NextHop.Ours = entry.Ours
				setNeighbor(s.NextHop, d.loop.names.PeerAt(entry.NBMA), marked)
			}
		case s.SA != nil:
			p := explain.Peer{NBMA: s.SA.NBMA, Mark: s.SA.Mark}
			s.SA.Charon = explain.With(sas, p)
			if asked != nil {
				s.SA.CharonError = asked.Error()
			}
			states, err := d.platform.Explain.StatesWith(locals, p)
			if err != nil {
				s.SA.KernelError = err.Error()
			} else {
				s.SA.Kernel = states
			}
		}
	}
	return nil
}

// setNeighbor records at which peer the kernel has a router. The kernel drops packets for a parked
// peer, and for a peer that the daemon does not know.
func setNeighbor(h *api.ExplainedNextHop, at peerid.ID, marked map[uint32]netip.Addr) {
	h.Neighbor = at.Address()
	if mark, is := at.Mark(); is && marked[mark].IsValid() {
		h.Neighbor, h.NeighborMark = marked[mark], mark
	}
	h.NeighborDrops = !h.Neighbor.IsValid()
}
