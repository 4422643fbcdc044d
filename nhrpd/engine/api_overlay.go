package engine

import "cygnet/nhrpd/engine/overlay"

type (
	Config          = overlay.Config
	InterfaceConfig = overlay.InterfaceConfig
	Limits          = overlay.Limits
	Map             = overlay.Map
	NHSConfig       = overlay.NHSConfig
)
