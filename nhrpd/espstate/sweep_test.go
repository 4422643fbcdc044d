package espstate

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"cygnet/kernel/xfrm"
)

// The sweep removes the states with marks that charon does not list, and nothing else. It reads the
// kernel first; otherwise it would take the state of an SA that charon makes in the meantime for an
// old one.
func TestSweep(t *testing.T) {
	states := []xfrm.ESPState{
		{SPI: 1, ReqID: 1, GRE: true, SetMark: 1}, // of an SA that charon lists
		{SPI: 2, ReqID: 1, GRE: true, Mark: 1},
		{SPI: 3, ReqID: 1, GRE: true, SetMark: 1}, // of the charon before, as the next
		{SPI: 4, ReqID: 1, GRE: true, Mark: 1},
		{SPI: 5, ReqID: 2, GRE: true},          // without a mark: its peer may still use it
		{SPI: 6, ReqID: 0, GRE: true, Mark: 7}, // keyed by hand
		{SPI: 7, ReqID: 3, Mark: 7},            // of another tunnel
	}
	var order []string
	var removed []uint32
	fail := errors.New("no")
	s := Sweeper{
		Log: slog.New(slog.DiscardHandler),
		States: func(netip.Addr) ([]xfrm.ESPState, error) {
			order = append(order, "kernel")
			return states, nil
		},
		Delete: func(old []xfrm.ESPState) error {
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
	if err := s.Sweep(locals, list); err != nil || !slices.Equal(removed, []uint32{3, 4}) ||
		!slices.Equal(order, []string{"kernel", "charon"}) {
		t.Errorf("removed %v in the order %v: %v", removed, order, err)
	}

	removed = nil
	if err := s.Sweep(locals, func() (map[uint32]bool, error) {
		return nil, fail
	}); !errors.Is(err, fail) || removed != nil {
		t.Errorf("charon did not say: removed %v: %v", removed, err)
	}
	states = states[4:5]
	if err := s.Sweep(locals, func() (map[uint32]bool, error) {
		t.Error("charon is asked without need")
		return nil, nil
	}); err != nil {
		t.Error(err)
	}
}
