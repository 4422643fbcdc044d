package datapath

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"cygnet/kernel/schedule"

	"github.com/cilium/ebpf/ringbuf"
)

// Offsets in struct event of bpf/maps.h. It begins with the outer source.
const (
	eventLength = 16 // of the length of the sampled bytes
	eventData   = 20 // of the sampled bytes
)

// followRedirects calls f with the redirects that the programs report, until ctx ends. It waits
// until the programs are loaded.
func (s *ebpfPath) followRedirects(ctx context.Context, f func(Redirect)) {
	backoff := schedule.Backoff()
	select {
	case <-s.loaded:
	case <-ctx.Done():
		return
	}
	for ctx.Err() == nil {
		err := s.readRedirects(ctx, f)
		if err == nil {
			return
		}
		s.log.Warn("reading redirects failed, trying again", "error", err)
		select {
		case <-time.After(backoff.NextBackOff()):
		case <-ctx.Done():
			return
		}
	}
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
	var pollUntil time.Time // until when to poll; zero: wait until the kernel wakes the reader
	for {
		err := reader.ReadInto(&record)
		switch {
		case err == nil:
			pollUntil = time.Now().Add(pollFor)
			if r, ok := parseEvent(record.RawSample); ok {
				f(r)
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			if pollUntil.Before(time.Now()) {
				pollUntil = time.Time{}
			}
		case errors.Is(err, os.ErrClosed):
			return nil
		default:
			return fmt.Errorf("read redirects: %w", err)
		}
		s.awaitPoll(reader, pollUntil)
	}
}

// The kernel wakes the reader of the ring buffer by irq_work. On a machine without an interrupt for
// that, the wake-up comes with the kernel's next tick, up to 10 ms late. Since redirects seldom
// come alone, the reader polls every millisecond until none has come for a second.
const (
	pollFor      = time.Second // after a redirect
	pollInterval = time.Millisecond
)

// awaitPoll prepares the next read. If the reader does not poll, the next read waits until the
// kernel wakes it. If the reader polls, awaitPoll waits until the next poll is due, and the next
// read returns at once.
func (s *ebpfPath) awaitPoll(reader *ringbuf.Reader, pollUntil time.Time) {
	if pollUntil.IsZero() {
		reader.SetDeadline(time.Time{})
		return
	}
	select {
	case <-time.After(pollInterval):
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
