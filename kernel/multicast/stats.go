package multicast

import "fmt"

// Stats counts since Attach. A packet is one that this host sent to a group over the tunnel.
type Stats struct {
	Taken  uint64 // packets that were replicated
	Copies uint64 // copies that the companion device took; IPsec may still refuse them

	// Packets that were dropped instead.

	Discovery uint64 // neighbour discovery: the tunnel resolves by NHRP
	Returned  uint64 // forwarded: from the tunnel without Config.Relay, or in user space
	Filtered  uint64 // Config.Groups does not let them pass
	OverRate  uint64 // they exceed Config.Rate

	// Copies that failed.

	NoPeer   uint64 // the list was empty, or an entry was missing
	NoKey    uint64 // the kernel refused the copy's outer header
	NoDevice uint64 // the companion device is missing
	NoMemory uint64 // the kernel had no memory for the copy
	Refused  uint64 // the companion device dropped the copy: it is down, or its queue is full

	// Restored counts filters, and entries of tables, that a comparison found missing or changed
	// and corrected.
	Restored uint64
}

// Indices of the table of counters, as bpf/maps.h has them (enum counter).
const (
	counterTaken uint32 = iota
	counterCopied
	counterDiscovery
	counterReturned
	counterFiltered
	counterOverRate
	counterNoPeer
	counterNoKey
	counterNoDevice
	counterNoMemory
	counterRefused
)

// Stats returns the counts so far.
func (r *Replicator) Stats() (Stats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	stats := r.past
	stats.Restored = r.restored
	if r.user != nil {
		stats.add(r.user.count())
	}
	if r.loaded == nil {
		return stats, nil
	}
	for index, to := range map[uint32]*uint64{
		counterTaken:     &stats.Taken,
		counterCopied:    &stats.Copies,
		counterDiscovery: &stats.Discovery,
		counterReturned:  &stats.Returned,
		counterFiltered:  &stats.Filtered,
		counterOverRate:  &stats.OverRate,
		counterNoPeer:    &stats.NoPeer,
		counterNoKey:     &stats.NoKey,
		counterNoDevice:  &stats.NoDevice,
		counterNoMemory:  &stats.NoMemory,
		counterRefused:   &stats.Refused,
	} {
		var n uint64
		if err := r.loaded.objects.Counters.Lookup(index, &n); err != nil {
			return Stats{}, fmt.Errorf("read the counters of %s: %w", r.cfg.Device, err)
		}
		*to += n
	}
	return stats, nil
}

// add adds counts of user space, which has fewer reasons.
func (s *Stats) add(o Stats) {
	s.Taken += o.Taken
	s.Copies += o.Copies
	s.Discovery += o.Discovery
	s.Returned += o.Returned
	s.Filtered += o.Filtered
	s.OverRate += o.OverRate
	s.NoPeer += o.NoPeer
	s.Refused += o.Refused
}
