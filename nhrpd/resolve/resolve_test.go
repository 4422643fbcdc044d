package resolve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// addresses parses addresses.
func addresses(texts ...string) []netip.Addr {
	var addrs []netip.Addr
	for _, text := range texts {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	return addrs
}

// The addresses of a name are handed on when they change: not in another order, not while look-ups
// fail.
func TestFollowHandsOnChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []struct {
			addrs []netip.Addr
			err   error
		}{
			{nil, errors.New("no such host")},
			{addresses("192.0.2.2", "::ffff:192.0.2.1"), nil},
			{addresses("192.0.2.1", "192.0.2.2", "192.0.2.1"), nil},
			{nil, errors.New("timeout")},
			{addresses("192.0.2.3"), nil},
		}
		ctx, cancel := context.WithCancel(t.Context())
		lookup := func(context.Context, string) ([]netip.Addr, error) {
			if len(answers) == 0 {
				cancel()
				return nil, ctx.Err()
			}
			a := answers[0]
			answers = answers[1:]
			return a.addrs, a.err
		}
		var got [][]netip.Addr
		err := Follow(ctx, slog.New(slog.DiscardHandler), "hub.example.net", lookup, nil,
			func(addrs []netip.Addr) { got = append(got, addrs) })
		want := [][]netip.Addr{addresses("192.0.2.1", "192.0.2.2"), addresses("192.0.2.3")}
		if err != nil || !slices.EqualFunc(got, want, slices.Equal[[]netip.Addr]) {
			t.Errorf("want %v, got %v, %v", want, got, err)
		}
	})
}

// Each look-up ends after ten seconds, and the next one follows a failure with back-off and a
// success after a minute.
func TestTimesOfLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var at []time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		lookup := func(one context.Context, _ string) ([]netip.Addr, error) {
			at = append(at, time.Since(begun))
			switch len(at) {
			case 1:
				<-one.Done() // nobody answers
				return nil, one.Err()
			case 4:
				cancel()
			}
			return addresses("192.0.2.1"), nil
		}
		_ = Follow(ctx, slog.New(slog.DiscardHandler), "hub", lookup, nil, func([]netip.Addr) {})
		want := []time.Duration{0, 11 * time.Second, 71 * time.Second, 131 * time.Second}
		if fmt.Sprint(at) != fmt.Sprint(want) {
			t.Errorf("want look-ups at %v, got them at %v", want, at)
		}
	})
}

// A look-up can be asked for. It comes soon, and not more often than every five seconds.
func TestLookupSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var at []time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		sooner := make(chan struct{}, 1)
		lookup := func(context.Context, string) ([]netip.Addr, error) {
			at = append(at, time.Since(begun))
			switch len(at) {
			case 1:
				sooner <- struct{}{}
			case 2:
				time.AfterFunc(20*time.Second, func() { sooner <- struct{}{} })
			case 4:
				cancel()
			}
			return addresses("192.0.2.1"), nil
		}
		_ = Follow(ctx, slog.New(slog.DiscardHandler), "hub", lookup, sooner,
			func([]netip.Addr) {})
		want := []time.Duration{0, 5 * time.Second, 25 * time.Second, 85 * time.Second}
		if fmt.Sprint(at) != fmt.Sprint(want) {
			t.Errorf("want look-ups at %v, got them at %v", want, at)
		}
	})
}

// An address is handed on without a look-up.
func TestFollowOfAnAddress(t *testing.T) {
	var got []netip.Addr
	err := Follow(t.Context(), nil, "192.0.2.1", nil, nil, func(addrs []netip.Addr) { got = addrs })
	if err != nil || !slices.Equal(got, addresses("192.0.2.1")) {
		t.Errorf("got %v, %v", got, err)
	}
}
