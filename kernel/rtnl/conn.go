package rtnl

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	MessageBuffer = 64 << 10        // above what the kernel puts into one read
	batchSize     = 400             // messages in one send: one read of the kernel, well below its send buffer
	readBuffer    = 4 << 20         // room for the failures of a whole batch
	ReadTimeout   = 5 * time.Second // an answer that takes longer does not come
	dumpTries     = 5               // a table that changes during a dump makes the kernel say that it is inconsistent
)

var errDumpInterrupted = errors.New("the table changed during every try to read it")

// Conn is a socket for requests to rtnetlink: dumps, and changes in batches. It is not for
// concurrent use. After an error that is not a message's own, its state is unknown: close it and
// open another.
type Conn struct {
	conn  *netlink.Conn
	until time.Time // the deadline of reads
}

// Open opens a connection in the network namespace of the calling thread. The caller closes it.
func Open() (*Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Strict: true, MessageBufferSize: MessageBuffer})
	if err != nil {
		return nil, Explain(err, "open a netlink socket")
	}
	if err := conn.SetReadBuffer(readBuffer); err != nil {
		conn.Close()
		return nil, fmt.Errorf("set a netlink socket's receive buffer: %w", err)
	}
	return &Conn{conn: conn}, nil
}

// Close closes the connection. No other method may be called during or after it.
func (r *Conn) Close() { r.conn.Close() }

// bound bounds the time that the next answers may take, by ReadTimeout to twice that: to set a
// deadline costs more than to change an entry, so one serves many changes.
func (r *Conn) bound() error {
	if time.Until(r.until) >= ReadTimeout {
		return nil
	}
	r.until = time.Now().Add(2 * ReadTimeout)
	return r.conn.SetReadDeadline(r.until)
}

// Ask sends one request and returns its answers.
func (r *Conn) Ask(m netlink.Message) ([]netlink.Message, error) {
	if err := r.bound(); err != nil {
		return nil, err
	}
	m.Header.Flags |= netlink.Request
	return r.conn.Execute(m)
}

// Dump asks for a table and returns its entries, read again while the kernel says that it changed
// in between. data begins with the family, as all of rtnetlink's headers do. A kernel that lacks
// the family, such as one booted with ipv6.disable=1, answers with the entries of all others: dump
// leaves these out.
func (r *Conn) Dump(kind netlink.HeaderType, data []byte) ([]netlink.Message, error) {
	request := netlink.Message{Header: netlink.Header{Type: kind, Flags: netlink.Dump}, Data: data}
	for range dumpTries {
		entries, err := r.Ask(request)
		if err != nil {
			return nil, err
		}
		if !interrupted(entries) {
			return ofFamily(data[0], entries), nil
		}
	}
	return nil, errDumpInterrupted
}

// ofFamily returns the entries of a family, or all of them for AF_UNSPEC.
func ofFamily(family byte, entries []netlink.Message) []netlink.Message {
	if family == unix.AF_UNSPEC {
		return entries
	}
	return slices.DeleteFunc(entries, func(m netlink.Message) bool { return len(m.Data) == 0 || m.Data[0] != family })
}

func interrupted(entries []netlink.Message) bool {
	for _, m := range entries {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return true
		}
	}
	return false
}

// Change carries out messages in their order, whatever becomes of each. It calls failed with the
// index and the error of every message that the kernel refused. An error means that it is unknown
// how far it came.
func (r *Conn) Change(messages []netlink.Message, failed func(i int, err error)) error {
	for start := 0; start < len(messages); start += batchSize {
		part := messages[start:min(start+batchSize, len(messages))]
		err := r.changePart(part, func(i int, err error) { failed(start+i, err) })
		if err != nil {
			return err
		}
	}
	return nil
}

// changePart asks for an acknowledgement of the last message only: failures come without being
// asked for, and in order.
func (r *Conn) changePart(part []netlink.Message, failed func(i int, err error)) error {
	for i := range part {
		part[i].Header.Flags |= netlink.Request
		part[i].Header.Sequence = 0
	}
	part[len(part)-1].Header.Flags |= netlink.Acknowledge
	sent, err := r.conn.SendMessages(part)
	if err != nil {
		return fmt.Errorf("send %d messages to the kernel: %w", len(part), err)
	}
	if err := r.bound(); err != nil {
		return err
	}
	for {
		answers, err := r.conn.Receive()
		sequence, refused := Refusal(err)
		if err != nil && !refused {
			return fmt.Errorf("read the answers to %d messages: %w", len(part), err)
		}
		if !refused {
			if len(answers) == 0 {
				continue
			}
			sequence = answers[len(answers)-1].Header.Sequence
		}
		i := int(sequence - sent[0].Header.Sequence) // those of one send follow each other
		if i >= len(sent) || sent[i].Header.Sequence != sequence {
			continue // the answer to an earlier one
		}
		if refused {
			failed(i, err)
		}
		if i == len(part)-1 {
			return nil
		}
	}
}

// Refusal tells a message's failure, which carries its sequence number, from one of the socket.
func Refusal(err error) (sequence uint32, ok bool) {
	var op *netlink.OpError
	if !errors.As(err, &op) || op.Sequence == 0 {
		return 0, false
	}
	return op.Sequence, true
}
