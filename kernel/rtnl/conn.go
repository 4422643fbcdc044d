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
	// MessageBuffer is the size in bytes of the buffer for one read. The kernel never puts more
	// than that into one read.
	MessageBuffer = 64 << 10

	// batchSize is how many messages go into one send. The kernel reads them in one go, and they
	// stay well below the size of its send buffer.
	batchSize = 400

	// readBuffer is the size in bytes of the socket's receive buffer. It has room for a failure of
	// every message of a batch.
	readBuffer = 4 << 20

	// ReadTimeout is how long to wait for an answer. An answer that takes longer never comes.
	ReadTimeout = 5 * time.Second

	// dumpTries is how often a dump is tried. If a table changes during a dump, the kernel marks
	// the dump as inconsistent, and the table has to be read again.
	dumpTries = 5
)

var errDumpInterrupted = errors.New("the table changed during every try to read it")

// Conn is a socket for requests to rtnetlink: dumps, and changes in batches. It is not for
// concurrent use. Some errors are the kernel's refusal of one message (see Refusal). After any
// other error the state of the socket is unknown: close it and open another.
type Conn struct {
	conn  *netlink.Conn
	until time.Time // the socket's read deadline
}

// Open opens a connection in the network namespace of the calling thread. The caller closes it.
func Open() (*Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE,
		&netlink.Config{Strict: true, MessageBufferSize: MessageBuffer})
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

// bound limits the time that the next answers may take. The limit is between ReadTimeout and twice
// that: setting a deadline costs more than changing an entry, so one deadline serves many changes.
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

// Dump asks for a table and returns its entries. It reads the table again, at most dumpTries times,
// if the kernel says that the table changed during the dump. data begins with the address family,
// as all headers of rtnetlink do. A kernel without that family, such as one booted with
// ipv6.disable=1, answers with the entries of all other families; Dump leaves these out.
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

// ofFamily returns the entries of a family, or all entries for AF_UNSPEC.
func ofFamily(family byte, entries []netlink.Message) []netlink.Message {
	if family == unix.AF_UNSPEC {
		return entries
	}
	return slices.DeleteFunc(entries, func(m netlink.Message) bool {
		return len(m.Data) == 0 || m.Data[0] != family
	})
}

// interrupted reports whether the kernel says that the table changed during the dump.
func interrupted(entries []netlink.Message) bool {
	for _, m := range entries {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return true
		}
	}
	return false
}

// Change sends messages to the kernel, which carries them out in their order. A message that the
// kernel refuses does not stop those behind it: Change calls failed with its index and its error.
// If Change itself returns an error, it is unknown which messages the kernel has carried out.
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

// changePart sends one batch. It asks the kernel to acknowledge the last message only: the kernel
// reports failures unasked, and in the order of the messages.
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
		// The messages of one send have consecutive sequence numbers.
		i := int(sequence - sent[0].Header.Sequence)
		if i >= len(sent) || sent[i].Header.Sequence != sequence {
			continue // the answer to a message of an earlier send
		}
		if refused {
			failed(i, err)
		}
		if i == len(part)-1 {
			return nil
		}
	}
}

// Refusal reports whether an error is the kernel's refusal of one message, and not a failure of the
// socket. It returns the sequence number of that message.
func Refusal(err error) (sequence uint32, ok bool) {
	var op *netlink.OpError
	if !errors.As(err, &op) || op.Sequence == 0 {
		return 0, false
	}
	return op.Sequence, true
}
