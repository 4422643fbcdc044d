package nhrpsocket

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNBMA is the reason of a WriteError whose NBMA address does not fit the device: it is not IPv4
// on a gre device, not IPv6 on an ip6gre device, unspecified, or multicast.
var ErrNBMA = errors.New("not an address of the tunnel's underlay")

// ErrSize is the reason of a WriteError whose packet is empty.
var ErrSize = errors.New("empty packet")

// WriteError says why one message of a batch was not sent.
type WriteError struct {
	Index int // in the batch
	NBMA  netip.Addr
	Err   error
}

// Error names the NBMA address and the reason.
func (e *WriteError) Error() string { return fmt.Sprintf("send to %v: %v", e.NBMA, e.Err) }

// Unwrap returns the reason.
func (e *WriteError) Unwrap() error { return e.Err }

// WriteErrors holds the failures of a batch in the order of the batch. There is at least one.
type WriteErrors []*WriteError

// Error names the first failure, and says how many others there are.
func (e WriteErrors) Error() string {
	if len(e) == 1 {
		return e[0].Error()
	}
	return fmt.Sprintf("%v (and %d more of the batch failed)", e[0], len(e)-1)
}

// Unwrap returns every failure, for errors.Is and errors.As.
func (e WriteErrors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i]
	}
	return all
}

// WriteBatch sends every message of ms that can be sent, and returns how many it sent. A message
// that fails does not stop the others; the error is then a WriteErrors. WriteBatch does not change
// Data. After Close the error is net.ErrClosed.
//
// A packet that the kernel drops later, for example because there is no SA, counts as sent.
func (s *Socket) WriteBatch(ms []Message) (int, error) {
	s.tx.mu.Lock()
	defer s.tx.mu.Unlock()
	var failed WriteErrors
	sent := 0
	for base := 0; base < len(ms); base += socketBatch {
		batch := ms[base:min(len(ms), base+socketBatch)]
		n, err := s.send(batch, func(i int, err error) {
			failed = append(failed, &WriteError{Index: base + i, NBMA: batch[i].NBMA, Err: err})
		})
		sent += n
		if err != nil {
			return sent, err
		}
	}
	if len(failed) > 0 {
		return sent, failed
	}
	return sent, nil
}

// send hands at most socketBatch messages to the kernel, and returns how many it sent. It calls
// failed with the index and the error of each message that fails. It returns an error if nothing
// can be sent any more.
func (s *Socket) send(ms []Message, failed func(int, error)) (int, error) {
	t := &s.tx
	var origin [socketBatch]int // the index in ms of each header's message
	count := 0
	for i := range ms {
		if err := s.address(&t.links[count], &ms[i]); err != nil {
			failed(i, err)
			continue
		}
		t.vectors[count][0].Base = &ms[i].Data[0]
		t.vectors[count][0].SetLen(len(ms[i].Data))
		t.headers[count].Hdr.Namelen =
			uint32(max(linkPrefix+s.length, unix.SizeofSockaddrLinklayer))
		origin[count] = i
		count++
	}
	sent, again := 0, -1
	for t.first = 0; t.first < count; {
		t.count = count - t.first
		if err := s.conn.Write(t.call); err != nil {
			return sent, s.fault(err)
		}
		if t.errno == 0 {
			sent += t.done
			t.first += t.done
			continue
		}
		if t.errno == unix.ENETDOWN && again != t.first {
			// The kernel reports once that a link was down, which may be over by now: try again.
			again = t.first
			continue
		}
		// The kernel returns an error only if the first message fails. It has not tried the others.
		failed(origin[t.first], os.NewSyscallError("sendmmsg", t.errno))
		t.first++
	}
	return sent, nil
}

// address writes the link-layer address of a message into link.
func (s *Socket) address(link *linkAddress, m *Message) error {
	if len(m.Data) == 0 {
		return ErrSize
	}
	to := m.NBMA
	if !to.IsValid() || to.BitLen() != s.length*8 || to.Is4In6() || to.Zone() != "" ||
		to.IsUnspecified() || to.IsMulticast() {
		return ErrNBMA
	}
	*link = linkAddress{
		family:   unix.AF_PACKET,
		protocol: s.protocol,
		ifindex:  s.index,
		halen:    uint8(s.length),
	}
	copy(link.addr[:], to.AsSlice())
	return nil
}
