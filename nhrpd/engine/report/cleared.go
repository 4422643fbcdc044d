package report

import "net/netip"

// Clearable is a kind of state that the administrator can have ended.
type Clearable uint8

// The kinds.
const (
	ClearShortcut Clearable = iota
	ClearPeer
	ClearBinding
)

// Cleared is what was ended.
type Cleared struct {
	Interface string
	Prefix    netip.Prefix // of a shortcut
	Protocol  netip.Addr   // overlay address of the router; zero: not known
	Outer     netip.Addr   // its outer address
	Identity  string
	CoolDown  bool // only the wait before the destination is asked for again
}
