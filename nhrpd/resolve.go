package nhrpd

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine"
)

// A look-up of a name may take lookupTimeout. A name that was resolved is looked up again after
// lookupAgain; the system's resolver caches the answer for its TTL.
const (
	lookupTimeout = 10 * time.Second
	lookupAgain   = time.Minute
)

// resolve tells the engine the NBMA addresses of an NHS, and tells them again when the answer for
// the name changes. After a failed look-up the engine keeps the addresses that it has.
func (p *port) resolve(ctx context.Context, name string) error {
	if addr, err := netip.ParseAddr(name); err == nil {
		p.loop.post(ctx, engine.NHSResolved{
			Interface: p.config.Name,
			Name:      name,
			NBMA:      []netip.Addr{addr},
		})
		return nil
	}
	var wait backOff
	var known []netip.Addr
	for {
		addrs, err := p.lookup(ctx, name)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			p.log.Warn("cannot resolve the NHS's name; trying again", "nhs", name, "error", err)
			if wait.sleep(ctx) != nil {
				return nil
			}
			continue
		}
		wait.reset()
		if !slices.Equal(addrs, known) {
			known = addrs
			p.loop.post(ctx, engine.NHSResolved{Interface: p.config.Name, Name: name, NBMA: addrs})
		}
		if !pause(ctx, lookupAgain) {
			return nil
		}
	}
}

// lookup returns the addresses of a name, sorted and each once. Sorted, the answers of a resolver
// that rotates them are equal.
func (p *port) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := p.platform.Lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), nil
}
