package engine

import (
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
)

// The types that callers of an engine use have their names here, too, so that a caller needs no
// other package.

// What happens outside an engine; see package event.
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

// What follows from events; see package output.
type (
	AdmissionChange = output.AdmissionChange
	Expelled        = output.Expelled
	MarkedChange    = output.MarkedChange
	NeighborChange  = output.NeighborChange
	Notice          = output.Notice
	NoticeKind      = output.NoticeKind
	Output          = output.Output
	Packet          = output.Packet
	PeerKey         = output.PeerKey
	RouteChange     = output.RouteChange
	SAChange        = output.SAChange
	Security        = output.Security
)

// The configuration; see package overlay.
type (
	Config          = overlay.Config
	InterfaceConfig = overlay.InterfaceConfig
	Limits          = overlay.Limits
	Map             = overlay.Map
	NHSConfig       = overlay.NHSConfig
)

// Copies of the state; see package report.
type (
	BindingStatus   = report.BindingStatus
	InterfaceStatus = report.InterfaceStatus
	Mismatch        = report.Mismatch
	MismatchKind    = report.MismatchKind
	NHSState        = report.NHSState
	NHSStatus       = report.NHSStatus
	PeerStatus      = report.PeerStatus
	Saved           = report.Saved
	SavedAnswer     = report.SavedAnswer
	SavedAway       = report.SavedAway
	SavedBinding    = report.SavedBinding
	SavedInterface  = report.SavedInterface
	SavedNHS        = report.SavedNHS
	SavedOwner      = report.SavedOwner
	SavedShortcut   = report.SavedShortcut
	SecurityState   = report.SecurityState
	ShortcutState   = report.ShortcutState
	ShortcutStatus  = report.ShortcutStatus
	Stats           = report.Stats
)

// The constants of package output.
const (
	NoticeAnnounced      = output.NoticeAnnounced
	NoticeBlocked        = output.NoticeBlocked
	NoticeBound          = output.NoticeBound
	NoticeError          = output.NoticeError
	NoticeLeftOut        = output.NoticeLeftOut
	NoticeMoved          = output.NoticeMoved
	NoticeNAT            = output.NoticeNAT
	NoticePeerClosed     = output.NoticePeerClosed
	NoticePeerEnded      = output.NoticePeerEnded
	NoticePeerFailed     = output.NoticePeerFailed
	NoticePeerLost       = output.NoticePeerLost
	NoticePeerSecured    = output.NoticePeerSecured
	NoticePrefixBound    = output.NoticePrefixBound
	NoticePrefixUnbound  = output.NoticePrefixUnbound
	NoticeProhibited     = output.NoticeProhibited
	NoticeRefused        = output.NoticeRefused
	NoticeRegistered     = output.NoticeRegistered
	NoticeRejected       = output.NoticeRejected
	NoticeRelayed        = output.NoticeRelayed
	NoticeResolving      = output.NoticeResolving
	NoticeShortcutDenied = output.NoticeShortcutDenied
	NoticeShortcutDown   = output.NoticeShortcutDown
	NoticeShortcutUp     = output.NoticeShortcutUp
	NoticeUnanswered     = output.NoticeUnanswered
	NoticeUnblocked      = output.NoticeUnblocked
	NoticeUnbound        = output.NoticeUnbound
	NoticeUnresolved     = output.NoticeUnresolved
	NoticeUnsent         = output.NoticeUnsent
	NoticeUnusable       = output.NoticeUnusable
	SAAccept             = output.SAAccept
	SAInitiate           = output.SAInitiate
	SAInitiateFirst      = output.SAInitiateFirst
	SANone               = output.SANone
)

// The constants of package report.
const (
	MismatchDeaf      = report.MismatchDeaf
	MismatchPassword  = report.MismatchPassword
	MismatchRefused   = report.MismatchRefused
	MismatchSilent    = report.MismatchSilent
	MismatchTwice     = report.MismatchTwice
	MismatchUnheard   = report.MismatchUnheard
	NHSRefused        = report.NHSRefused
	NHSRegistered     = report.NHSRegistered
	NHSRegistering    = report.NHSRegistering
	NHSSecuring       = report.NHSSecuring
	NHSUnresolved     = report.NHSUnresolved
	ShortcutResolving = report.ShortcutResolving
	ShortcutSecuring  = report.ShortcutSecuring
	ShortcutUp        = report.ShortcutUp
	StateAbsent       = report.StateAbsent
	StateSecured      = report.StateSecured
	StateSecuring     = report.StateSecuring
)
