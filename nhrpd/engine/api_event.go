package engine

import "cygnet/nhrpd/engine/event"

type (
	Block          = event.Block
	Event          = event.Event
	Leave          = event.Leave
	LocalAddress   = event.LocalAddress
	Missed         = event.Missed
	NHSResolved    = event.NHSResolved
	PacketReceived = event.PacketReceived
	Peer           = event.Peer
	PeerFailed     = event.PeerFailed
	PeerLost       = event.PeerLost
	PeerMoved      = event.PeerMoved
	PeerRenewed    = event.PeerRenewed
	PeerSecured    = event.PeerSecured
	PeerUse        = event.PeerUse
	PeersSecured   = event.PeersSecured
	Redirected     = event.Redirected
	Route          = event.Route
	RoutesChanged  = event.RoutesChanged
	Unblock        = event.Unblock
	Used           = event.Used
)
