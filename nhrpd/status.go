package nhrpd

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"runtime/metrics"
	"slices"
	"strings"
	"time"

	"cygnet/kernel/sysctl"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/health"
)

// Status returns a copy of everything that the API shows, with the problems that follow from it;
// see api.Daemon. The loop copies its part in one turn, so that part is of one moment.
func (d *Daemon) Status(ctx context.Context) (*api.Status, error) {
	s := &api.Status{Version: api.Version, PID: os.Getpid(), Started: d.started, Memory: memory()}
	var configured config.Config
	var outer map[string][]netip.Addr
	err := d.loop.call(ctx, func(now time.Time) {
		s.Now = now
		s.Counters = d.loop.counters()
		interfaces := d.loop.engine.Status()
		for i := range interfaces {
			s.Interfaces = append(s.Interfaces, d.loop.interfaceStatus(&interfaces[i]))
		}
		s.Routes = d.loop.wantedRoutes(interfaces)
		s.Blocked = list(d.loop.engine.Blocked(), blockedStatus)
		configured = d.loop.configured()
		outer = outerAddresses(interfaces)
	})
	if err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	d.addClear(s)
	s.Tables = tablesStatus(d.tables.Stats())
	s.StrongSwan = d.strongswanStatus()
	s.SAs = d.saStatus(d.strongswan.SAs())
	for i := range s.Interfaces {
		markReached(s.Interfaces[i].Peers, s.SAs)
	}
	d.markInstalled(s.Routes)
	check := sysctl.CheckConfig{Forwards: true}
	for _, ifc := range s.Interfaces {
		check.Peers += len(ifc.Peers)
	}
	for _, a := range d.platform.Check(check) {
		s.Advice = append(s.Advice, a.String())
	}
	d.mismatches.addReasons(s)
	s.Problems = append(d.problems.list(), refusedProfiles(d.strongswan.Status().Refused)...)
	s.Problems = append(s.Problems, rivalProblems(d.strongswan.Status().Rivals)...)
	addFindings(s, d.platform.Network(&configured))
	addFindings(s, d.lookAround(&configured, outer))
	addFindings(s, d.certificates.findings())
	s.Problems = health.Diagnose(s)
	return s, nil
}

// configured returns the configuration of the interfaces that have not left, in the order of their
// names. It runs on the loop.
func (l *loop) configured() config.Config {
	var c config.Config
	for _, p := range l.ports {
		c.Interfaces = append(c.Interfaces, p.config)
	}
	slices.SortFunc(c.Interfaces, func(a, b config.Interface) int {
		return strings.Compare(a.Name, b.Name)
	})
	return c
}

// memory reads the runtime's memory counts. It uses runtime/metrics, which does not stop the
// daemon's goroutines for the reading.
func memory() api.Memory {
	counts := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/allocs:objects"}}
	metrics.Read(counts)
	return api.Memory{Heap: counts[0].Value.Uint64(), Allocations: counts[1].Value.Uint64()}
}

// counters returns the engine's counters, together with what was lost on the way to the engine and
// from it. It runs on the loop.
func (l *loop) counters() api.Counters {
	st := l.engine.Stats()
	dropped := maps.Clone(st.Dropped)
	if dropped == nil {
		dropped = make(map[string]uint64)
	}
	if n := l.offersDropped.Load(); n > 0 {
		dropped["redirect or missing neighbour not looked at: the daemon is busy"] = n
	}
	if n := l.strongswan.Status().OverLimit; n > 0 {
		dropped["SA closed: its identity had more than the configuration allows (limits.sas)"] = n
	}
	for reason, n := range l.sendErrors {
		dropped["not sent: "+reason] += n
	}
	for _, p := range l.ports {
		if p.line != nil {
			p.line.addDrops(dropped)
		}
	}
	return api.Counters{Received: st.Received, Sent: st.Sent, Dropped: dropped}
}

// interfaceStatus joins what the engine knows of an interface and what its port knows. It runs on
// the loop.
func (l *loop) interfaceStatus(st *engine.InterfaceStatus) api.Interface {
	out := api.Interface{
		Name:       st.Name,
		Address:    st.Address,
		NBMA:       st.NBMA,
		PublicNBMA: st.PublicNBMA,
		Protected:  st.Protected,
		Left:       st.Left,
		NHS:        list(st.NHS, func(n engine.NHSStatus) api.NHS { return nhsStatus(st, n) }),
		Bindings: list(st.Bindings, func(b engine.BindingStatus) api.Binding {
			return bindingStatus(st.Name, b)
		}),
		Shortcuts: list(st.Shortcuts, func(s engine.ShortcutStatus) api.Shortcut {
			return shortcutStatus(st.Name, s)
		}),
		Peers: list(st.Peers, peerStatus),
	}
	p := l.ports[st.Name]
	if p == nil {
		return out
	}
	out.Index, out.Up, out.Error = p.state.Index, p.state.Up, p.fault
	out.MarksError = p.marksFault
	out.Redirect, out.Shortcut = p.config.Redirect, p.config.Shortcut
	path := p.pathState()
	out.Sampling, out.DataPathError = api.Sampling(path.Mode), path.Fault
	if out.MarksError == "" {
		out.MarksError = path.Marks
	}
	out.DataPathRestored = p.line.restored()
	out.Admission, out.AdmissionReason = p.admission(), p.admissionReason()
	return out
}

// list returns f of every element of in. The result is never nil, so JSON shows an empty list and
// not null.
func list[T, U any](in []T, f func(T) U) []U {
	out := make([]U, len(in))
	for i := range in {
		out[i] = f(in[i])
	}
	return out
}

// seen returns the outer address by which the world knows a peer, and the peer's mark. The mark is
// 0 if the engine knows the peer by its NBMA address and not by a name.
func seen(nbma, real netip.Addr) (netip.Addr, uint32) {
	if mark, ok := xfrm.MarkOf(nbma); ok && real.IsValid() {
		return real, mark
	}
	return nbma, 0
}

// same returns v, for lists that only have to be copied.
func same[T any](v T) T { return v }

// nhsStates has the API's word for each state of a registration.
var nhsStates = map[engine.NHSState]api.NHSState{
	engine.NHSUnresolved:  api.NHSUnresolved,
	engine.NHSSecuring:    api.NHSSecuring,
	engine.NHSRegistering: api.NHSRegistering,
	engine.NHSRegistered:  api.NHSRegistered,
	engine.NHSRefused:     api.NHSRefused,
}

// nhsStatus returns what the API shows of an NHS. An interface that has left registers with none.
func nhsStatus(st *engine.InterfaceStatus, n engine.NHSStatus) api.NHS {
	if st.Left {
		return api.NHS{
			Interface: st.Name,
			Name:      n.Name,
			Protocol:  n.Protocol,
			State:     api.NHSLeft,
			Announced: []netip.Prefix{},
		}
	}
	return api.NHS{
		Interface:  st.Name,
		Name:       n.Name,
		Protocol:   n.Protocol,
		NBMA:       n.NBMA,
		State:      nhsStates[n.State],
		Registered: n.Registered,
		Expires:    n.Expires,
		Next:       n.Next,
		Attempts:   n.Attempts,
		Asked:      n.Asked,
		Announced:  list(n.Announced, same[netip.Prefix]),
		Error:      n.Error,
	}
}

// bindingStatus returns what the API shows of a binding. It shows the NBMA address that the client
// claimed only where that differs from the one that the world sees.
func bindingStatus(device string, b engine.BindingStatus) api.Binding {
	out := api.Binding{
		Interface:  device,
		Protocol:   b.Protocol,
		NBMA:       b.NBMA,
		Identity:   b.Identity,
		Static:     b.Static,
		Unique:     b.Unique,
		Secured:    b.Secured,
		MTU:        b.MTU,
		Prefixes:   list(b.Prefixes, same[netip.Prefix]),
		Registered: b.RegisteredAt,
		Expires:    b.Expires,
	}
	out.NBMA, out.Mark = seen(b.NBMA, b.Real)
	if b.ClientNBMA != out.NBMA {
		out.ClientNBMA = b.ClientNBMA
	}
	return out
}

// shortcutStates has the API's word for each state of a shortcut.
var shortcutStates = map[engine.ShortcutState]api.ShortcutState{
	engine.ShortcutResolving: api.ShortcutResolving,
	engine.ShortcutSecuring:  api.ShortcutSecuring,
	engine.ShortcutUp:        api.ShortcutUp,
}

// shortcutStatus returns what the API shows of a shortcut.
func shortcutStatus(device string, s engine.ShortcutStatus) api.Shortcut {
	nbma, mark := seen(s.NBMA, s.Real)
	return api.Shortcut{
		Interface: device,
		Prefix:    s.Prefix,
		NextHop:   s.NextHop,
		NBMA:      nbma,
		Mark:      mark,
		Identity:  s.Identity,
		State:     shortcutStates[s.State],
		Since:     s.Since,
		Used:      s.Used,
		Expires:   s.Expires,
	}
}

// peerStates has the API's word for each state of a peer's security.
var peerStates = map[engine.SecurityState]api.PeerState{
	engine.StateAbsent:   api.PeerAbsent,
	engine.StateSecuring: api.PeerSecuring,
	engine.StateSecured:  api.PeerSecured,
}

// peerStatus returns what the API shows of a peer.
func peerStatus(p engine.PeerStatus) api.Peer {
	interest := p.Interest
	if interest == nil {
		interest = []string{}
	}
	nbma, mark := seen(p.NBMA, p.Real)
	return api.Peer{
		Interface:  p.Interface,
		NBMA:       nbma,
		Mark:       mark,
		Identity:   p.Identity,
		State:      peerStates[p.State],
		Since:      p.Since,
		Initiator:  p.Initiator,
		LocalNAT:   p.LocalNAT,
		RemoteNAT:  p.RemoteNAT,
		Interest:   interest,
		In:         p.In,
		Out:        p.Out,
		Admitted:   p.Admitted,
		Error:      p.Error,
		SharedWith: p.SharedWith,
		Prohibited: p.Prohibited,
	}
}
