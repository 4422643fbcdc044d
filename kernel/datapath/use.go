package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"cygnet/kernel/clock"

	"github.com/cilium/ebpf"
)

// useBatch is the number of peers read with one system call.
const useBatch = 2048

// Use implements Path.
func (s *ebpfPath) Use() ([]Use, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil || !s.ingress || !s.egress {
		return nil, ErrNoUse
	}
	times, err := clock.ReadMonotonic()
	if err != nil {
		return nil, err
	}
	var used []Use
	var cursor ebpf.MapBatchCursor
	for done := false; !done; {
		n, err := s.objects.Peers.BatchLookup(&cursor, s.keys, s.values, nil)
		done = errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !done {
			return nil, fmt.Errorf("read last-use times: %w", err)
		}
		for i := range n {
			nbma := netip.AddrFrom16(s.keys[i].B).Unmap()
			used = append(used, Use{
				NBMA: nbma,
				Out:  s.seen(times.At(s.values[i].Out)),
				In:   s.seen(times.At(s.values[i].In)),
			})
		}
	}
	return used, nil
}

// seen returns a time of use as Path.Use reports it. If the use was before the programs were put
// back on the device, seen returns the time at which they were put back, because they did not see
// what passed in between. mu is held.
func (s *ebpfPath) seen(use time.Time) time.Time {
	if !use.IsZero() && use.Before(s.reattached) {
		return s.reattached
	}
	return use
}
