package nhrpd

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"cygnet/kernel/xfrm"
)

// sweeper ends what a charon that was killed left in the kernel with marks. The next charon gives the same marks to other routers, and
// then what comes through an old state would be taken for theirs, and what is for them could leave through it. Its routers lose nothing
// that lasts: charon dials them.
type sweeper struct {
	log    *slog.Logger
	states func(local netip.Addr) ([]xfrm.ESPState, error)
	remove func([]xfrm.ESPState) error
}

// sweep is for vici.Options: the states are read before charon is asked, so that none of its own is taken for an old one.
func (s sweeper) sweep(locals []netip.Addr, list func() (map[uint32]bool, error)) error {
	var marked []xfrm.ESPState
	for _, local := range locals {
		states, err := s.states(local)
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
	s.log.Info("removing ESP states with marks of an earlier charon", "states", len(old))
	return s.remove(old)
}
