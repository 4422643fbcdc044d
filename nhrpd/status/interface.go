// Package status turns what the engine, charon, the kernel and the checks of the host report into
// what the API shows. It only translates: who calls it reads the state.
package status

import (
	"net/netip"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
)

// AddSharing adds to the status of an interface which others share its SAs.
func AddSharing(out *api.Interface, with []string) {
	out.SharesSAs = with
	for i := range out.Peers {
		if p := &out.Peers[i]; p.State == api.PeerSecured {
			p.SASharedBy = with
		}
	}
}

// Interface returns what the API shows of the engine's part of an interface.
func Interface(st *engine.InterfaceStatus) api.Interface {
	out := api.Interface{
		Name:       st.Name,
		Address:    st.Address,
		Addresses:  addresses(st),
		NBMA:       st.NBMA,
		SecondNBMA: st.SecondNBMA,
		PublicNBMA: st.PublicNBMA,
		Protected:  st.Protected,
		Left:       st.Left,
		Draining:   st.Draining,
		NHS:        list(st.NHS, func(n engine.NHSStatus) api.NHS { return nhs(st, n) }),
		Bindings: list(st.Bindings, func(b engine.BindingStatus) api.Binding {
			return binding(st.Name, b)
		}),
		Shortcuts: list(st.Shortcuts, func(s engine.ShortcutStatus) api.Shortcut {
			return shortcut(st.Name, s)
		}),
		Peers:      list(st.Peers, peer),
		Authorizer: authorizer(st.Authorizer),
	}
	addRoundTrips(&out)
	return out
}

// authorizer returns what the engine knows of an authorizer, as the API shows it; nil for none.
func authorizer(st *engine.InquiryStatus) *api.Authorizer {
	if st == nil {
		return nil
	}
	a := &api.Authorizer{
		Socket:      st.Socket,
		Default:     api.AuthorizerRefuses,
		Silent:      st.Silent,
		Asked:       st.Asked,
		Allowed:     st.Allowed,
		Refused:     st.Refused,
		Unanswered:  st.Unanswered,
		Late:        st.Late,
		Unsolicited: st.Unsolicited,
		Open:        st.Open,
		Queued:      st.Queued,
		Rulings:     st.Rulings,
	}
	if st.Allow {
		a.Default = api.AuthorizerAllows
	}
	return a
}

// addresses returns the overlay addresses of an interface.
func addresses(st *engine.InterfaceStatus) []netip.Prefix {
	if !st.Second.IsValid() {
		return []netip.Prefix{st.Address}
	}
	return []netip.Prefix{st.Address, st.Second}
}

// Blocked returns what the API shows of the blocked identities.
func Blocked(blocked []engine.Block) []api.Blocked {
	return list(blocked, func(b engine.Block) api.Blocked { return api.Blocked(b) })
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

// firstParked is the mark that the API shows for a parked peer, less the peer's number. No SA has
// such a mark. It tells several parked peers behind one address apart.
const firstParked = 255 << 16

// mark returns the mark that the API shows for a peer. It is 0 for a peer that has its NBMA address
// for itself.
func mark(id peerid.ID) uint32 {
	if number, parked := id.Parking(); parked {
		return firstParked + number
	}
	mark, _ := id.Mark()
	return mark
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
	engine.NHSReserve:     api.NHSReserve,
}

// nhsUses has the API's word for each use of an NHS.
var nhsUses = map[engine.NHSUse]api.NHSUse{
	engine.UseReserve:    api.NHSUseReserve,
	engine.UseProbing:    api.NHSUseProbing,
	engine.UseConnecting: api.NHSUseConnecting,
	engine.UseReturning:  api.NHSUseReturning,
	engine.UseInUse:      api.NHSUseInUse,
}

// nhs returns what the API shows of an NHS. An interface that has left registers with none.
func nhs(st *engine.InterfaceStatus, n engine.NHSStatus) api.NHS {
	if st.Left {
		return api.NHS{
			Interface: st.Name,
			Name:      n.Name,
			Protocol:  n.Protocol,
			Priority:  int(n.Priority),
			Cluster:   int(n.Cluster),
			State:     api.NHSLeft,
			Announced: []netip.Prefix{},
			Registrations: list(n.Registrations,
				func(r engine.RegistrationStatus) api.Registration {
					return api.Registration{Address: r.Address, Protocol: r.Protocol,
						State: api.NHSLeft, Announced: []netip.Prefix{}}
				}),
		}
	}
	return api.NHS{
		Interface:  st.Name,
		Name:       n.Name,
		Protocol:   n.Protocol,
		NBMA:       n.NBMA,
		PublicNBMA: n.Public,
		State:      nhsStates[n.State],
		Registered: n.Registered,
		Expires:    n.Expires,
		Next:       n.Next,
		Attempts:   n.Attempts,
		Asked:      n.Asked,
		Announced:  list(n.Announced, same[netip.Prefix]),
		Error:      n.Error,
		Priority:   int(n.Priority),
		Cluster:    int(n.Cluster),
		Use:        nhsUses[n.Use],
		Returns:    n.Returns,
		Checks:     n.Checks,
		RoundTrip:  n.RoundTrip.Seconds(),

		Registrations: list(n.Registrations, registration),
	}
}

// registration returns what the API shows of the registration of one overlay address.
func registration(r engine.RegistrationStatus) api.Registration {
	return api.Registration{
		Address:    r.Address,
		Protocol:   r.Protocol,
		State:      nhsStates[r.State],
		Registered: r.Registered,
		Expires:    r.Expires,
		Next:       r.Next,
		Attempts:   r.Attempts,
		Asked:      r.Asked,
		Announced:  list(r.Announced, same[netip.Prefix]),
		Error:      r.Error,
		RoundTrip:  r.RoundTrip.Seconds(),
	}
}

// binding returns what the API shows of a binding. It shows the NBMA address that the client
// claimed only where that differs from the one that the world sees.
func binding(device string, b engine.BindingStatus) api.Binding {
	out := api.Binding{
		Interface:  device,
		Protocol:   b.Protocol,
		NBMA:       b.Outer,
		Mark:       mark(b.Peer),
		Identity:   b.Identity,
		Static:     b.Static,
		Unique:     b.Unique,
		Secured:    b.Secured,
		MTU:        b.MTU,
		Prefixes:   list(b.Prefixes, same[netip.Prefix]),
		Reserve:    b.Reserve,
		Registered: b.RegisteredAt,
		Expires:    b.Expires,
	}
	if b.ClientNBMA != out.NBMA {
		out.ClientNBMA = b.ClientNBMA
	}
	return out
}

// shortcutStates has the API's word for each state of a shortcut.
var shortcutStates = map[engine.ShortcutState]api.ShortcutState{
	engine.ShortcutResolving: api.ShortcutResolving,
	engine.ShortcutSecuring:  api.ShortcutSecuring,
	engine.ShortcutProving:   api.ShortcutProving,
	engine.ShortcutUp:        api.ShortcutUp,

	engine.ShortcutImpossible: api.ShortcutImpossible,
}

// pathStates has the API's word for each state of a path.
var pathStates = map[engine.PathState]api.PathState{
	engine.PathUnproven: api.PathUnproven,
	engine.PathProven:   api.PathProven,
	engine.PathSmall:    api.PathSmall,
	engine.PathFailed:   api.PathFailed,
}

// path returns what the API shows of the direct path to a peer, or nil if there is nothing to tell.
func path(p engine.PathStatus) *api.Path {
	if p == (engine.PathStatus{NextHop: p.NextHop, RoundTrip: p.RoundTrip}) {
		return nil
	}
	return &api.Path{
		State:    pathStates[p.State],
		Since:    p.Since,
		MTU:      p.MTU,
		Failures: p.Failures,
		Retry:    p.Retry,
		Reason:   p.Reason,
	}
}

// shortcut returns what the API shows of a shortcut.
func shortcut(device string, s engine.ShortcutStatus) api.Shortcut {
	out := api.Shortcut{
		Interface: device,
		Prefix:    s.Prefix,
		NextHop:   s.NextHop,
		NBMA:      s.Outer,
		Mark:      mark(s.Peer),
		Identity:  s.Identity,
		State:     shortcutStates[s.State],
		Installed: string(s.Placement),
		Since:     s.Since,
		Used:      s.Used,
		Expires:   s.Expires,
		Reason:    s.Reason,
	}
	if s.State == engine.ShortcutUp {
		out.Path, out.MTU = pathStates[s.Path], s.MTU
	}
	return out
}

// peerStates has the API's word for each state of a peer's security.
var peerStates = map[engine.SecurityState]api.PeerState{
	engine.StateAbsent:   api.PeerAbsent,
	engine.StateSecuring: api.PeerSecuring,
	engine.StateSecured:  api.PeerSecured,
}

// peer returns what the API shows of a peer.
func peer(p engine.PeerStatus) api.Peer {
	interest := p.Reasons
	if interest == nil {
		interest = []string{}
	}
	return api.Peer{
		Interface:  p.Interface,
		Protocols:  p.Protocols,
		NBMA:       p.Outer,
		Mark:       mark(p.ID),
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
		Path:       path(p.Path),
		RoundTrip:  p.Path.RoundTrip.Seconds(),
	}
}
