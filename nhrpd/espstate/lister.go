package espstate

import (
	"net/netip"

	"cygnet/kernel/xfrm"
)

// Lister lists to which peers the kernel has SAs.
type Lister struct {
	States func(local netip.Addr) ([]xfrm.ESPState, error) // such as xfrm.ESPStates
}

// InKernel returns the addresses to which the kernel has SAs for our GRE from one of the local
// addresses. It leaves out states with marks: they carry only what is marked for one router, and
// after a restart of charon nothing is marked until the router is back. It returns an error if it
// cannot read the kernel. It serves as the option InKernel of vici.Options.
func (l Lister) InKernel(locals []netip.Addr) (map[netip.Addr]bool, error) {
	there := make(map[netip.Addr]bool)
	for _, local := range locals {
		states, err := l.States(local)
		if err != nil {
			return nil, err
		}
		for _, s := range states {
			if s.GRE && s.Src == local && s.MarkMask == 0 {
				there[s.Dst] = true
			}
		}
	}
	return there, nil
}
