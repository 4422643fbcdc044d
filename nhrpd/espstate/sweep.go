package espstate

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"cygnet/kernel/xfrm"
)

// Sweeper removes the ESP states with marks that a killed charon left in the kernel. The next
// charon gives the same marks to other routers. With an old state still there, what comes through
// it would be taken for packets of the new router, and packets for the new router could leave
// through it. The old routers lose nothing for long: charon dials them again.
type Sweeper struct {
	Log    *slog.Logger
	States func(local netip.Addr) ([]xfrm.ESPState, error) // such as xfrm.ESPStates
	Delete func([]xfrm.ESPState) error                     // such as xfrm.DeleteStates
}

// Sweep removes the states of an earlier charon; it returns an error if it cannot. It serves as
// the option Sweep of vici.Options. It reads the kernel's states before it asks charon for its own
// (list): a state that charon makes in between is then in charon's answer, and no new state is
// taken for an old one.
func (s Sweeper) Sweep(locals []netip.Addr, list func() (map[uint32]bool, error)) error {
	var marked []xfrm.ESPState
	for _, local := range locals {
		states, err := s.States(local)
		if err != nil {
			return fmt.Errorf("look for ESP states of an earlier charon: %w", err)
		}
		for _, st := range states {
			if st.GRE && st.ReqID != 0 && (st.SetMark != 0 || st.Mark != 0) {
				marked = append(marked, st)
			}
		}
	}
	if len(marked) == 0 {
		return nil
	}
	known, err := list()
	if err != nil {
		return err
	}
	old := slices.DeleteFunc(marked, func(st xfrm.ESPState) bool { return known[st.SPI] })
	if len(old) == 0 {
		return nil
	}
	s.Log.Info("removing ESP states with marks of an earlier charon", "states", len(old))
	return s.Delete(old)
}
