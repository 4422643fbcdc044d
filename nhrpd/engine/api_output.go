package engine

import "cygnet/nhrpd/engine/output"

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
