package datapath

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"cygnet/kernel/clock"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
)

// Offsets in struct event of bpf/maps.h. It begins with the outer source.
const (
	eventLength = 16 // of the length of the sampled bytes
	eventData   = 20 // of the sampled bytes
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
)

// useBatch is the number of peers read with one system call.
const useBatch = 2048

// loadPath loads the programs and maps into the kernel.
func loadPath(cfg Config) (objects bpfObjects, err error) {
	spec, err := loadBpf()
	if err != nil {
		return objects, err
	}
	version, err := features.LinuxVersionCode()
	if err != nil {
		return objects, fmt.Errorf("read the kernel's version: %w", err)
	}
	settings := []struct {
		variable string
		value    any
	}{
		{bpfVarAdmission, byteOf(cfg.Admission)},
		{bpfVarSourceCheck, byteOf(cfg.Admission && cfg.SourceCheck)},
		{bpfVarClient, byteOf(cfg.Client)},
		{bpfVarSample, byteOf(cfg.Redirect)},
		{bpfVarTellsDevice, byteOf(version >= 5<<16|12<<8)},
		{bpfVarFirstInterval, uint64(cfg.Rate.First)},
		{bpfVarLastInterval, uint64(cfg.Rate.Last)},
		{bpfVarPerSecond, uint64(cfg.Rate.PerSecond)},
		{bpfVarPerSource, uint64(cfg.Rate.PerSource)},
		{bpfVarNhrpByte, uint64(time.Second) / uint64(cfg.NHRP.PerSecond)},
		{
			bpfVarNhrpBurst,
			uint64(cfg.NHRP.Burst) * (uint64(time.Second) / uint64(cfg.NHRP.PerSecond)),
		},
	}
	for _, name := range []string{bpfMapAdmitted, bpfMapMarked} {
		spec.Maps[name].MaxEntries = uint32(cfg.Peers)
	}
	// At every start of the daemon the kernel allocates memory for all entries of all tables,
	// except for the table of marked peers. So the tables are no larger than needed.
	for _, name := range []string{bpfMapPeers, bpfMapShares, bpfMapSentTo} {
		spec.Maps[name].MaxEntries = min(uint32(max(cfg.Peers, 1024)), spec.Maps[name].MaxEntries)
	}
	if !cfg.Redirect {
		spec.Maps[bpfMapFlows].MaxEntries = 1
	}
	for _, s := range settings {
		if err := spec.Variables[s.variable].Set(s.value); err != nil {
			return objects, fmt.Errorf("set %s: %w", s.variable, err)
		}
	}
	// Before Linux 5.11 maps count against this limit. If the limit cannot be raised, and that
	// matters, loading returns an error.
	_ = rlimit.RemoveMemlock()
	if err := spec.LoadAndAssign(&objects, nil); err != nil {
		return objects, fmt.Errorf("load the programs: %w", err)
	}
	return objects, nil
}

// Probe loads the programs and tables, and releases them. It returns an error if the kernel does
// not take them.
func Probe() error {
	cfg := Config{Admission: true}
	cfg.setDefaults()
	objects, err := loadPath(cfg)
	if err != nil {
		return err
	}
	return objects.Close()
}

// byteOf returns a boolean as the programs have it.
func byteOf(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// readRedirects calls f with each redirect until ctx ends or Close is called.
func (s *ebpfPath) readRedirects(ctx context.Context, f func(Redirect)) error {
	reader, err := s.openRedirects()
	if err != nil {
		return fmt.Errorf("read redirects: %w", err)
	}
	if reader == nil {
		return nil
	}
	defer reader.Close()
	// Only closing the reader makes a waiting ReadInto return.
	defer context.AfterFunc(ctx, func() { reader.Close() })()
	defer context.AfterFunc(s.closed, func() { reader.Close() })()
	var record ringbuf.Record
	var attentive time.Time // until when to poll; zero: wait until the kernel wakes the reader
	for {
		err := reader.ReadInto(&record)
		switch {
		case err == nil:
			attentive = time.Now().Add(attention)
			if r, ok := parseEvent(record.RawSample); ok {
				f(r)
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			if attentive.Before(time.Now()) {
				attentive = time.Time{}
			}
		case errors.Is(err, os.ErrClosed):
			return nil
		default:
			return fmt.Errorf("read redirects: %w", err)
		}
		s.awaitLook(reader, attentive)
	}
}

// The kernel wakes the reader of the ring buffer by irq_work. On a machine without an interrupt for
// that, the wake-up comes with the kernel's next tick, up to 10 ms late. Since redirects seldom
// come alone, the reader polls every millisecond until none has come for a second.
const (
	attention = time.Second      // how long to poll after a redirect
	look      = time.Millisecond // between two polls
)

// awaitLook prepares the next read. If the reader does not poll, the next read waits until the
// kernel wakes it. If the reader polls, awaitLook waits until the next poll is due, and the next
// read returns at once.
func (s *ebpfPath) awaitLook(reader *ringbuf.Reader, attentive time.Time) {
	if attentive.IsZero() {
		reader.SetDeadline(time.Time{})
		return
	}
	select {
	case <-time.After(look):
	case <-s.closed.Done():
	}
	reader.SetDeadline(time.Unix(0, 1)) // long ago
}

// openRedirects opens a reader of the redirects. It returns nil after Close.
func (s *ebpfPath) openRedirects() (*ringbuf.Reader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Err() != nil || s.objects == nil {
		return nil, nil
	}
	return ringbuf.NewReader(s.objects.Events)
}

// parseEvent reads struct event of bpf/maps.h.
func parseEvent(b []byte) (Redirect, bool) {
	if len(b) < eventData {
		return Redirect{}, false
	}
	n := binary.NativeEndian.Uint32(b[eventLength:])
	if uint64(n) > uint64(len(b)-eventData) {
		return Redirect{}, false
	}
	return Redirect{
		From:   netip.AddrFrom16([16]byte(b)).Unmap(),
		Packet: b[eventData : eventData+n],
	}, true
}

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
	} {
		var n uint64
		if err := s.objects.Counters.Lookup(index, &n); err != nil {
			return Stats{}, fmt.Errorf("read the counters of %s: %w", s.device, err)
		}
		*to += n
	}
	return stats, nil
}
