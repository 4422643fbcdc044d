package engine

import "cygnet/nhrpd/engine/report"

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
