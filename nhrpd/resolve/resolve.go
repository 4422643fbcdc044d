// Package resolve follows the addresses of a host by its name.
package resolve

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/wait"
)

const (
	timeout = 10 * time.Second // how long one look-up may take
	// interval is how long after a look-up a name is looked up again. The system's resolver caches
	// the answer for its TTL.
	interval = time.Minute
	// least is how long after a look-up a name is looked up again at the earliest, however often
	// that is asked for.
	least = 5 * time.Second
)

// Lookup returns the addresses of a name, such as net.DefaultResolver.LookupNetIP does.
type Lookup func(ctx context.Context, name string) ([]netip.Addr, error)

// Follow calls changed with the addresses of a name, and again whenever they change, until the
// context ends. The addresses are sorted. A name that is an address needs no look-up, and Follow
// returns after it called changed once. After a failed look-up Follow tries again with back-off,
// and the addresses stay as they are.
//
// A value from sooner asks for a look-up soon, for example because nobody answers at an address.
func Follow(
	ctx context.Context, log *slog.Logger, name string, lookup Lookup, sooner <-chan struct{},
	changed func([]netip.Addr),
) error {
	if addr, err := netip.ParseAddr(name); err == nil {
		changed([]netip.Addr{addr})
		return nil
	}
	backoff := wait.Backoff()
	var known []netip.Addr
	for {
		addrs, err := lookup.sorted(ctx, name)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			log.Warn("cannot resolve the NHS's name; trying again", "nhs", name, "error", err)
			if !wait.For(ctx, backoff.NextBackOff()) {
				return nil
			}
			continue
		}
		backoff.Reset()
		if !slices.Equal(addrs, known) {
			known = addrs
			changed(addrs)
		}
		if !wait.For(ctx, least) || !waitFor(ctx, interval-least, sooner) {
			return nil
		}
	}
}

// waitFor waits for d, or until sooner has a value. It returns false if the context ends first.
func waitFor(ctx context.Context, d time.Duration, sooner <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-sooner:
		return true
	case <-ctx.Done():
		return false
	}
}

// sorted returns the addresses of a name, sorted and each once. Sorted, the answers of a resolver
// that rotates them are equal.
func (l Lookup) sorted(ctx context.Context, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	addrs, err := l(ctx, name)
	if err != nil {
		return nil, err
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), nil
}
