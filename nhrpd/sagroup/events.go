package sagroup

import "cygnet/vici"

// About returns the group that an event of strongSwan's is about; empty: it is about charon itself.
func About(ev vici.Event) string {
	switch ev := ev.(type) {
	case vici.Up:
		return ev.Interface
	case vici.Moved:
		return ev.Peer.Interface
	case vici.Renewed:
		return ev.Interface
	case vici.Down:
		return ev.Interface
	case vici.Failed:
		return ev.Interface
	case vici.Refused:
		return ev.Interface
	case vici.Snapshot:
		return ev.Interface
	}
	return ""
}

// ForInterface returns an event about a group's SA as the event of one of the group's interfaces.
func ForInterface(ev vici.Event, iface string) vici.Event {
	switch ev := ev.(type) {
	case vici.Up:
		ev.Interface = iface
		return ev
	case vici.Moved:
		ev.From.Interface, ev.Peer.Interface = iface, iface
		return ev
	case vici.Renewed:
		ev.Interface = iface
		return ev
	case vici.Down:
		ev.Interface = iface
		return ev
	case vici.Failed:
		ev.Interface = iface
		return ev
	case vici.Refused:
		ev.Interface = iface
		return ev
	case vici.Snapshot:
		peers := make([]vici.Peer, len(ev.Peers))
		for i, p := range ev.Peers {
			p.Interface = iface
			peers[i] = p
		}
		ev.Interface, ev.Peers = iface, peers
		return ev
	}
	return ev
}

// Status returns the state of the link to charon with the interfaces of each group in place of the
// group; see Shown.
func (g *Groups) Status(st vici.Status) vici.Status {
	refused := make(map[string]string, len(st.Refused))
	for group, reason := range st.Refused {
		for _, iface := range g.Shown(group) {
			refused[iface] = reason
		}
	}
	var rivals []vici.Rival
	for _, rival := range st.Rivals {
		for _, iface := range g.Shown(rival.Interface) {
			rival.Interface = iface
			rivals = append(rivals, rival)
		}
	}
	st.Refused, st.Rivals = refused, rivals
	return st
}
