// Package status turns what the engine, charon, the kernel and the checks of the host report into
// what the API shows. It only translates: who calls it reads the state.
package status

import (
	"net/netip"

	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
)

// Interface returns what the API shows of the engine's part of an interface.
func Interface(st *engine.InterfaceStatus) api.Interface {
	return api.Interface{
		Name:       st.Name,
		Address:    st.Address,
		NBMA:       st.NBMA,
		PublicNBMA: st.PublicNBMA,
		Protected:  st.Protected,
		Left:       st.Left,
		NHS:        list(st.NHS, func(n engine.NHSStatus) api.NHS { return nhs(st, n) }),
		Bindings: list(st.Bindings, func(b engine.BindingStatus) api.Binding {
			return binding(st.Name, b)
		}),
		Shortcuts: list(st.Shortcuts, func(s engine.ShortcutStatus) api.Shortcut {
			return shortcut(st.Name, s)
		}),
		Peers: list(st.Peers, peer),
	}
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

// Outer returns the outer address by which the world knows a peer, and the peer's mark. The mark is
// 0 if the engine knows the peer by its NBMA address and not by a name.
func Outer(nbma, real netip.Addr) (netip.Addr, uint32) {
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

// nhs returns what the API shows of an NHS. An interface that has left registers with none.
func nhs(st *engine.InterfaceStatus, n engine.NHSStatus) api.NHS {
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

// binding returns what the API shows of a binding. It shows the NBMA address that the client
// claimed only where that differs from the one that the world sees.
func binding(device string, b engine.BindingStatus) api.Binding {
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
	out.NBMA, out.Mark = Outer(b.NBMA, b.Real)
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

// shortcut returns what the API shows of a shortcut.
func shortcut(device string, s engine.ShortcutStatus) api.Shortcut {
	nbma, mark := Outer(s.NBMA, s.Real)
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

// peer returns what the API shows of a peer.
func peer(p engine.PeerStatus) api.Peer {
	interest := p.Reasons
	if interest == nil {
		interest = []string{}
	}
	nbma, mark := Outer(p.NBMA, p.Real)
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
