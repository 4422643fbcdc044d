package nhrpd

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"cygnet/kernel/xfrm"
)

// Of the states with marks those go that charon does not list, and nothing else. The kernel is read first: a state of charon's newest SA
// may be in neither.
func TestSweep(t *testing.T) {
	states := []xfrm.ESPState{
		{SPI: 1, ReqID: 1, GRE: true, SetMark: 1}, // of charon's own
		{SPI: 2, ReqID: 1, GRE: true, Mark: 1},
		{SPI: 3, ReqID: 1, GRE: true, SetMark: 1}, // of the charon before
		{SPI: 4, ReqID: 1, GRE: true, Mark: 1},
		{SPI: 5, ReqID: 2, GRE: true},          // without a mark: its peer may go on using it
		{SPI: 6, ReqID: 0, GRE: true, Mark: 7}, // keyed by hand
		{SPI: 7, ReqID: 3, Mark: 7},            // of another tunnel
	}
	var order []string
	var removed []uint32
	fail := errors.New("no")
	s := sweeper{
		log:    slog.New(slog.DiscardHandler),
		states: func(netip.Addr) ([]xfrm.ESPState, error) { order = append(order, "kernel"); return states, nil },
		remove: func(old []xfrm.ESPState) error {
			for _, st := range old {
				removed = append(removed, st.SPI)
			}
			return nil
		},
	}
	locals := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	list := func() (map[uint32]bool, error) {
		order = append(order, "charon")
		return map[uint32]bool{1: true, 2: true}, nil
	}
	if err := s.sweep(locals, list); err != nil || !slices.Equal(removed, []uint32{3, 4}) || !slices.Equal(order, []string{"kernel", "charon"}) {
		t.Errorf("removed %v in the order %v: %v", removed, order, err)
	}

	removed = nil
	if err := s.sweep(locals, func() (map[uint32]bool, error) { return nil, fail }); !errors.Is(err, fail) || removed != nil {
		t.Errorf("charon did not say: removed %v: %v", removed, err)
	}
	states = states[4:5]
	if err := s.sweep(locals, func() (map[uint32]bool, error) { t.Error("charon is asked without need"); return nil, nil }); err != nil {
		t.Error(err)
	}
}
