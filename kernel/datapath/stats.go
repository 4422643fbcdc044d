package datapath

import (
	"fmt"
)

// Indices of the map of counters, as bpf/maps.h has them (enum counter).
const (
	counterSampled uint32 = iota
	counterLimited
	counterLost
	counterNotAdmitted
	counterWrongSource
	counterLooped
	counterNoMark
	counterNoWay
	counterUnclaimed
	counterOverShare
	counterNHRPFlood
	counterMSSLowered
	counterNoLink
	counterNoOwner
)

// Stats implements Path.
func (s *ebpfPath) Stats() (Stats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.past
	if s.fallback != nil {
		now, _ := s.fallback.Stats()
		stats.Sampled, stats.Lost, stats.Foreign =
			stats.Sampled+now.Sampled, stats.Lost+now.Lost, stats.Foreign+now.Foreign
	}
	if s.objects == nil {
		return stats, nil
	}
	for index, to := range map[uint32]*uint64{
		counterSampled:     &stats.Sampled,
		counterLimited:     &stats.Limited,
		counterLost:        &stats.Lost,
		counterNotAdmitted: &stats.NotAdmitted,
		counterWrongSource: &stats.WrongSource,
		counterLooped:      &stats.Looped,
		counterNoMark:      &stats.NoMark,
		counterNoWay:       &stats.NoWay,
		counterUnclaimed:   &stats.Unclaimed,
		counterOverShare:   &stats.OverShare,
		counterNHRPFlood:   &stats.NHRPFlood,
		counterMSSLowered:  &stats.MSSLowered,
		counterNoLink:      &stats.NoLink,
		counterNoOwner:     &stats.NoOwner,
	} {
		var n uint64
		if err := s.objects.Counters.Lookup(index, &n); err != nil {
			return Stats{}, fmt.Errorf("read the counters of %s: %w", s.device, err)
		}
		*to += n
	}
	return stats, nil
}
