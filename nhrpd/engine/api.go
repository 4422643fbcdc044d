package engine

import (
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/proof"
	"cygnet/nhrpd/engine/report"
)

// The types that callers of an engine use have their names here, too, so that a caller needs no
// other package.

// What happens outside an engine; see package event.
type (
	AuthorizerUp   = event.AuthorizerUp
	Block          = event.Block
	Drain          = event.Drain
	Event          = event.Event
	Leave          = event.Leave
	TunnelReplaced = event.TunnelReplaced
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
	Recheck        = event.Recheck
	Redirected     = event.Redirected
	Route          = event.Route
	RoutesChanged  = event.RoutesChanged
	Ruling         = event.Ruling
	TunnelMTU      = event.TunnelMTU
	Unblock        = event.Unblock
	Used           = event.Used
)

// What follows from events; see package output.
type (
	AdmissionChange = output.AdmissionChange
	ReceiverChange  = output.ReceiverChange
	Expelled        = output.Expelled
	Inquiry         = output.Inquiry
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
	Authorizer      = overlay.Authorizer
	Config          = overlay.Config
	Family          = overlay.Family
	HostTable       = overlay.HostTable
	InterfaceConfig = overlay.InterfaceConfig
	Multicast       = overlay.Multicast
	Limits          = overlay.Limits
	Paths           = overlay.Paths
	Map             = overlay.Map
	NHSConfig       = overlay.NHSConfig
)

// Copies of the state; see package report.
type (
	BindingStatus      = report.BindingStatus
	Clearable          = report.Clearable
	Cleared            = report.Cleared
	Ping               = proof.Ping
	Explanation        = report.Explanation
	Hop                = report.Hop
	Knowledge          = report.Knowledge
	Pair               = report.Pair
	PairStatus         = report.PairStatus
	Question           = report.Question
	RuleStatus         = report.RuleStatus
	RulingStatus       = report.RulingStatus
	Verdict            = report.Verdict
	WayFault           = report.WayFault
	Fill               = report.Fill
	InquiryStatus      = report.InquiryStatus
	InterfaceStatus    = report.InterfaceStatus
	Mismatch           = report.Mismatch
	MismatchKind       = report.MismatchKind
	NHSState           = report.NHSState
	NHSUse             = report.NHSUse
	NHSStatus          = report.NHSStatus
	RegistrationStatus = report.RegistrationStatus
	Outcome            = report.Outcome
	PathState          = report.PathState
	PathStatus         = report.PathStatus
	PeerStatus         = report.PeerStatus
	Placement          = report.Placement
	Saved              = report.Saved
	SavedAnswer        = report.SavedAnswer
	SavedAway          = report.SavedAway
	SavedBinding       = report.SavedBinding
	SavedInterface     = report.SavedInterface
	SavedNHS           = report.SavedNHS
	SavedOwner         = report.SavedOwner
	SavedShortcut      = report.SavedShortcut
	SecurityState      = report.SecurityState
	ShortcutState      = report.ShortcutState
	ShortcutStatus     = report.ShortcutStatus
	Stats              = report.Stats
)

// The constants of package output.
const (
	NoticeAnnounced      = output.NoticeAnnounced
	NoticeRuling         = output.NoticeRuling
	NoticeUnruled        = output.NoticeUnruled
	NoticeBlocked        = output.NoticeBlocked
	NoticeBound          = output.NoticeBound
	NoticeError          = output.NoticeError
	NoticeHubLost        = output.NoticeHubLost
	NoticeLeftOut        = output.NoticeLeftOut
	NoticeMoved          = output.NoticeMoved
	NoticeNAT            = output.NoticeNAT
	NoticePeerClosed     = output.NoticePeerClosed
	NoticePeerEnded      = output.NoticePeerEnded
	NoticePeerFailed     = output.NoticePeerFailed
	NoticePeerLost       = output.NoticePeerLost
	NoticePeerSecured    = output.NoticePeerSecured
	NoticePrefixBound    = output.NoticePrefixBound
	NoticePrefixReserve  = output.NoticePrefixReserve
	NoticePrefixTakeover = output.NoticePrefixTakeover
	NoticePrefixUnbound  = output.NoticePrefixUnbound
	NoticeProhibited     = output.NoticeProhibited
	NoticeRefused        = output.NoticeRefused
	NoticeRegistered     = output.NoticeRegistered
	NoticeRejected       = output.NoticeRejected
	NoticeRelayed        = output.NoticeRelayed
	NoticeReserve        = output.NoticeReserve
	NoticeResolving      = output.NoticeResolving
	NoticeShortcutCutOff = output.NoticeShortcutCutOff
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
	ClearBinding        = report.ClearBinding
	ClearPeer           = report.ClearPeer
	ClearShortcut       = report.ClearShortcut
	KnownAsNHS          = report.KnownAsNHS
	KnownByBinding      = report.KnownByBinding
	KnownByMap          = report.KnownByMap
	KnownByRelay        = report.KnownByRelay
	KnownByShortcut     = report.KnownByShortcut
	KnownNot            = report.KnownNot
	MismatchDeaf        = report.MismatchDeaf
	MismatchPassword    = report.MismatchPassword
	MismatchRefused     = report.MismatchRefused
	MismatchSilent      = report.MismatchSilent
	MismatchTwice       = report.MismatchTwice
	MismatchUnheard     = report.MismatchUnheard
	NHSRefused          = report.NHSRefused
	NHSRegistered       = report.NHSRegistered
	NHSRegistering      = report.NHSRegistering
	NHSReserve          = report.NHSReserve
	NHSSecuring         = report.NHSSecuring
	NHSUnresolved       = report.NHSUnresolved
	OutcomeEnded        = report.OutcomeEnded
	OutcomeError        = report.OutcomeError
	OutcomeInadmissible = report.OutcomeInadmissible
	OutcomeNoSA         = report.OutcomeNoSA
	OutcomeNoVersion    = report.OutcomeNoVersion
	OutcomeNone         = report.OutcomeNone
	OutcomePathFailed   = report.OutcomePathFailed
	OutcomeProhibited   = report.OutcomeProhibited
	OutcomeRefused      = report.OutcomeRefused
	OutcomeShared       = report.OutcomeShared
	OutcomeUnanswered   = report.OutcomeUnanswered
	OutcomeUp           = report.OutcomeUp
	PathFailed          = report.PathFailed
	PathProven          = report.PathProven
	PathSmall           = report.PathSmall
	PathUnproven        = report.PathUnproven
	PlacedHalves        = report.PlacedHalves
	PlacedHostTable     = report.PlacedHostTable
	PlacedNowhere       = report.PlacedNowhere
	PlacedWhole         = report.PlacedWhole
	ShortcutImpossible  = report.ShortcutImpossible
	ShortcutProving     = report.ShortcutProving
	ShortcutResolving   = report.ShortcutResolving
	ShortcutSecuring    = report.ShortcutSecuring
	ShortcutUp          = report.ShortcutUp
	StateAbsent         = report.StateAbsent
	StateSecured        = report.StateSecured
	StateSecuring       = report.StateSecuring
	UseConnecting       = report.UseConnecting
	UseInUse            = report.UseInUse
	UseProbing          = report.UseProbing
	UseReserve          = report.UseReserve
	UseReturning        = report.UseReturning
	VerdictAsking       = report.VerdictAsking
	VerdictBlocked      = report.VerdictBlocked
	VerdictCoolDown     = report.VerdictCoolDown
	VerdictDirect       = report.VerdictDirect
	VerdictElsewhere    = report.VerdictElsewhere
	VerdictEnded        = report.VerdictEnded
	VerdictError        = report.VerdictError
	VerdictIgnored      = report.VerdictIgnored
	VerdictInadmissible = report.VerdictInadmissible
	VerdictIndicated    = report.VerdictIndicated
	VerdictLeft         = report.VerdictLeft
	VerdictNAT          = report.VerdictNAT
	VerdictNoBinding    = report.VerdictNoBinding
	VerdictNoIndication = report.VerdictNoIndication
	VerdictNoPacket     = report.VerdictNoPacket
	VerdictNoRoute      = report.VerdictNoRoute
	VerdictNoSA         = report.VerdictNoSA
	VerdictNoVersion    = report.VerdictNoVersion
	VerdictOff          = report.VerdictOff
	VerdictPassedOn     = report.VerdictPassedOn
	VerdictProhibited   = report.VerdictProhibited
	VerdictProving      = report.VerdictProving
	VerdictRedirectOff  = report.VerdictRedirectOff
	VerdictRefused      = report.VerdictRefused
	VerdictRouted       = report.VerdictRouted
	VerdictSameNAT      = report.VerdictSameNAT
	VerdictSameRouter   = report.VerdictSameRouter
	VerdictSecuring     = report.VerdictSecuring
	VerdictShared       = report.VerdictShared
	VerdictUnanswered   = report.VerdictUnanswered
	WayElsewhere        = report.WayElsewhere
	WayNoBinding        = report.WayNoBinding
	WayNoRoute          = report.WayNoRoute
	WayOK               = report.WayOK
)

// ResyncGrace is how long after a restart of strongSwan the engine relies on the SAs that the
// kernel still has with peers which strongSwan does not list.
const ResyncGrace = peers.ResyncGrace
