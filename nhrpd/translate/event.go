package translate

import (
	"cygnet/kernel/watch"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/vici"
)

// PeerID returns how the engine knows a peer of strongSwan's.
func PeerID(k vici.Key) peerid.ID {
	if k.Mark != 0 {
		return peerid.Marked(k.Mark)
	}
	return peerid.At(k.NBMA)
}

// SAKey is the inverse of PeerID: it returns how strongSwan knows a peer of the engine's.
// strongSwan knows no parked peers, and the engine wants nothing of it for them.
func SAKey(k engine.PeerKey) vici.Key {
	mark, _ := k.ID.Mark()
	return vici.Key{Interface: k.Interface, NBMA: k.ID.Address(), Mark: mark}
}

// EngineRoutes turns changes of the kernel's routes into the engine's event.
func EngineRoutes(b watch.RouteBatch) engine.RoutesChanged {
	return engine.RoutesChanged{
		Table:   b.Table,
		Reset:   b.Reset,
		Added:   routesOf(b.Added),
		Removed: routesOf(b.Removed),
	}
}

// routesOf turns the kernel's routes into the engine's.
func routesOf(entries []watch.RouteEntry) []engine.Route {
	out := make([]engine.Route, len(entries))
	for i, e := range entries {
		out[i] = engine.Route(e)
	}
	return out
}

// EnginePeer turns a peer of strongSwan's into the engine's.
func EnginePeer(p vici.Peer) engine.Peer {
	return engine.Peer{
		Interface:  p.Interface,
		ID:         PeerID(p.Key()),
		Outer:      p.NBMA,
		Identity:   p.Identity,
		Initiator:  p.Initiator,
		LocalNAT:   p.LocalNAT,
		RemoteNAT:  p.RemoteNAT,
		SharedWith: p.SharedWith,
		Separating: p.Separating,
	}
}

// EngineEvent turns an event of strongSwan's into the engine's. It returns nil for an event that
// only the daemon uses.
func EngineEvent(ev vici.Event) engine.Event {
	switch ev := ev.(type) {
	case vici.Moved:
		return engine.PeerMoved{From: PeerID(ev.From), Peer: EnginePeer(ev.Peer)}
	case vici.Renewed:
		return engine.PeerRenewed{Interface: ev.Interface, ID: PeerID(ev.Key())}
	case vici.Down:
		return engine.PeerLost{
			Interface: ev.Interface,
			ID:        PeerID(ev.Key),
			Reason:    ev.Reason,
			Closed:    ev.Closed(),
		}
	case vici.Failed:
		return engine.PeerFailed{Interface: ev.Interface, ID: PeerID(ev.Key), Reason: ev.Reason}
	case vici.Snapshot:
		peers := make([]engine.Peer, len(ev.Peers))
		for i, p := range ev.Peers {
			peers[i] = EnginePeer(p)
		}
		return engine.PeersSecured{
			Interface: ev.Interface,
			Peers:     peers,
			InKernel:  ev.InKernel,
		}
	}
	return nil
}

// Want translates what the engine wants for a peer into what vici is to do.
func Want(s engine.Security) vici.Want {
	switch s {
	case engine.SAInitiateFirst:
		return vici.InitiateFirst
	case engine.SAInitiate:
		return vici.Initiate
	case engine.SAAccept:
		return vici.Accept
	}
	return vici.None
}
