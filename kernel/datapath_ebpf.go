package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Layout of struct event in bpf/cygnet.c.
const (
	eventLength = 16 // offset
	eventData   = 20 // offset
)

// Indices of the map of counters, as in bpf/cygnet.c.
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

// loadPath hands programs and maps to the kernel.
func loadPath(cfg DataPathConfig) (objects bpfObjects, err error) {
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
		{bpfVarNhrpBurst, uint64(cfg.NHRP.Burst) * (uint64(time.Second) / uint64(cfg.NHRP.PerSecond))},
	}
	for _, name := range []string{bpfMapAdmitted, bpfMapMarked} {
		spec.Maps[name].MaxEntries = uint32(cfg.Peers)
	}
	// The kernel sets memory aside for all entries of all tables but that of the marked peers, at
	// every start of the daemon.
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
	// Before Linux 5.11 maps count against this limit. Where it cannot be raised, loading fails and
	// says so.
	_ = rlimit.RemoveMemlock()
	if err := spec.LoadAndAssign(&objects, nil); err != nil {
		return objects, fmt.Errorf("load the programs: %w", err)
	}
	return objects, nil
}

func byteOf(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// readRedirects calls f with each redirect until ctx ends or Close.
func (s *ebpfPath) readRedirects(ctx context.Context, f func(Redirect)) error {
	reader, err := s.openRedirects()
	if err != nil {
		return fmt.Errorf("read redirects: %w", err)
	}
	if reader == nil {
		return nil
	}
	defer reader.Close()
	// Closing is what wakes a reader.
	defer context.AfterFunc(ctx, func() { reader.Close() })()
	defer context.AfterFunc(s.closed, func() { reader.Close() })()
	var record ringbuf.Record
	var attentive time.Time // until when to look every now and then; zero: wait for the wake-up
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

// The ring buffer wakes its reader by irq_work. A kernel that has no interrupt for that does it
// with its next tick, up to 10 ms late. As redirects seldom come alone, there is a look every
// millisecond until none has come for a second.
const (
	attention = time.Second
	look      = time.Millisecond
)

// awaitLook makes the next read wait for the wake-up, or waits itself and makes it take what is
// there.
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

// openRedirects returns nil after Close.
func (s *ebpfPath) openRedirects() (*ringbuf.Reader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Err() != nil || s.objects == nil {
		return nil, nil
	}
	return ringbuf.NewReader(s.objects.Events)
}

// parseEvent reads struct event of bpf/cygnet.c.
func parseEvent(b []byte) (Redirect, bool) {
	if len(b) < eventData {
		return Redirect{}, false
	}
	n := binary.NativeEndian.Uint32(b[eventLength:])
	if uint64(n) > uint64(len(b)-eventData) {
		return Redirect{}, false
	}
	return Redirect{From: netip.AddrFrom16([16]byte(b)).Unmap(), Packet: b[eventData : eventData+n]}, true
}

func (s *ebpfPath) Use() ([]Use, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil || !s.ingress || !s.egress {
		return nil, ErrNoUse
	}
	clock, err := readClock()
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
			used = append(used, Use{NBMA: nbma, Out: s.seen(clock.at(s.values[i].Out)), In: s.seen(clock.at(s.values[i].In))})
		}
	}
	return used, nil
}

// seen takes use of before the programs were put back for use at that moment: they cannot tell what
// passed in between. mu is held.
func (s *ebpfPath) seen(use time.Time) time.Time {
	if !use.IsZero() && use.Before(s.reattached) {
		return s.reattached
	}
	return use
}

// clock ties the programs' clock to Go's. bpf_ktime_get_ns reads CLOCK_MONOTONIC, which stands
// still while the machine sleeps (unlike CLOCK_BOOTTIME), as Go's monotonic times do: time asleep
// is not time without traffic.
type clock struct {
	now       time.Time
	monotonic int64 // ns
}

func readClock() (clock, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return clock{}, os.NewSyscallError("clock_gettime", err)
	}
	return clock{now: time.Now(), monotonic: t.Nano()}, nil
}

func (c clock) at(ns uint64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return c.now.Add(time.Duration(int64(ns) - c.monotonic))
}

func (s *ebpfPath) Stats() (DataPathStats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.past
	if s.fallback != nil {
		now, _ := s.fallback.Stats()
		stats.Sampled, stats.Lost, stats.Foreign = stats.Sampled+now.Sampled, stats.Lost+now.Lost, stats.Foreign+now.Foreign
	}
	if s.objects == nil {
		return stats, nil
	}
	for index, to := range map[uint32]*uint64{
		counterSampled: &stats.Sampled, counterLimited: &stats.Limited, counterLost: &stats.Lost,
		counterNotAdmitted: &stats.NotAdmitted, counterWrongSource: &stats.WrongSource, counterLooped: &stats.Looped,
		counterNoMark: &stats.NoMark, counterNoWay: &stats.NoWay, counterUnclaimed: &stats.Unclaimed,
		counterOverShare: &stats.OverShare, counterNHRPFlood: &stats.NHRPFlood,
	} {
		var n uint64
		if err := s.objects.Counters.Lookup(index, &n); err != nil {
			return DataPathStats{}, fmt.Errorf("read the counters of %s: %w", s.device, err)
		}
		*to += n
	}
	return stats, nil
}
