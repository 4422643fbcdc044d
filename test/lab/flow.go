package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Flow sends echo requests at regular intervals and records for each when it was sent and whether
// it was answered. So a test can say how many were lost during a fault, and for how long. Times are
// those of the monotonic clock, so that setting the clock does not disturb a flow.
type Flow struct {
	Name string

	node  *Node
	fd    int
	dst   netip.Addr
	id    uint16
	every time.Duration // between two requests
	echo  Request       // how long the requests are, and which of them may be fragmented
	most  int           // after how many requests it sends no more; 0: it goes on
	stop  chan struct{}
	ended sync.WaitGroup
	close func() // may be called any number of times
	host  *Node  // the host that answers, if it is known
	none  int    // replies that the host could not send before the flow began
	buf   []byte // for one received packet

	stopping atomic.Bool // Stop was called: the answers under way are still read

	mu       sync.Mutex
	sent     []time.Time
	answered []bool        // whether the request with the same index was answered
	last     int           // index of the newest request that was answered, or -1
	refused  map[int]error // the kernel's error for a request that it did not send, by index
	err      error         // the error that ended the reading of answers
}

var flows atomic.Uint32

// Flow starts to send echo requests to an address, one per interval, until Stop or the end of the
// network.
func (n *Node) Flow(dst netip.Addr, interval time.Duration) *Flow {
	n.net.Helper()
	return n.flow(dst, interval, Request{}, 0)
}

// flow starts a flow. See Flow.most.
func (n *Node) flow(dst netip.Addr, interval time.Duration, echo Request, most int) *Flow {
	n.net.Helper()
	f := &Flow{
		Name:    n.Name + " to " + dst.String(),
		node:    n,
		dst:     dst,
		id:      uint16(flows.Add(1)),
		every:   interval,
		echo:    echo,
		most:    most,
		stop:    make(chan struct{}),
		buf:     make([]byte, 2048),
		last:    -1,
		refused: map[int]error{},
	}
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	if dst.Is6() {
		family, protocol = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	err := n.Inside(func() (err error) {
		f.fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK,
			protocol)
		return err
	})
	if err == nil {
		// Answers arrive while this process waits for the processor. If the socket had no room for
		// them, they would count as lost on the way.
		err = errors.Join(
			unix.SetsockoptInt(f.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
			attach(f.fd, answersTo(f.id, dst.Is6())),
			echo.prepare(f.fd, dst.Is6()),
		)
	}
	if err != nil {
		n.net.Fatalf("flow %s: %v", f.Name, err)
	}
	f.AnsweredBy(n.net.hosts[dst])
	f.close = sync.OnceFunc(func() { endTraffic(f.stop, &f.ended, f.fd) })
	f.ended.Go(f.run)
	n.net.flows = append(n.net.flows, f)
	return f
}

// Types of ICMP messages (RFC 792, RFC 4443).
const (
	echoRequest  = 8
	echoReply    = 0
	echoRequest6 = 128
	echoReply6   = 129
)

// answersTo returns a filter that passes only the answers to the requests of a flow. A raw socket
// receives all ICMP packets of its node: those of IPv4 with their IP header, those of IPv6 without.
func answersTo(id uint16, six bool) []bpf.Instruction {
	if six {
		return []bpf.Instruction{
			bpf.LoadAbsolute{Off: 0, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: echoReply6, SkipTrue: 3},
			bpf.LoadAbsolute{Off: 4, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(id), SkipTrue: 1},
			bpf.RetConstant{Val: 65535},
			bpf.RetConstant{Val: 0},
		}
	}
	return []bpf.Instruction{
		bpf.LoadMemShift{Off: 0}, // the length of the IP header
		bpf.LoadIndirect{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: echoReply, SkipTrue: 3},
		bpf.LoadIndirect{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(id), SkipTrue: 1},
		bpf.RetConstant{Val: 65535},
		bpf.RetConstant{Val: 0},
	}
}

// collected is the time after which run reads the answers again. They wait in the socket until
// then: a guest would spend more time on waking up for each packet than on the packet itself.
const collected = 50 * time.Millisecond

// run sends requests at fixed times, so that a late request does not delay the next, and reads the
// answers.
func (f *Flow) run() {
	send, receive := time.NewTicker(f.every), time.NewTicker(collected)
	defer send.Stop()
	defer receive.Stop()
	for {
		select {
		case <-f.stop:
			f.receiveLast()
			return
		case <-send.C:
			if f.most == 0 || len(f.sent) < f.most {
				f.sendOne()
			}
		case <-receive.C:
			f.receive()
		}
	}
}

// sendOne sends the next request and records it.
func (f *Flow) sendOne() {
	f.mu.Lock()
	defer f.mu.Unlock()
	packet, to := []byte{echoRequest, 0, 0, 0}, f.to()
	packet = binary.BigEndian.AppendUint16(packet, f.id)
	packet = binary.BigEndian.AppendUint16(packet, uint16(len(f.sent)))
	packet = binary.BigEndian.AppendUint32(packet, uint32(len(f.sent)))
	packet = append(packet, make([]byte, f.echo.length(f.dst)-len(packet))...)
	if f.dst.Is6() {
		packet[0] = echoRequest6 // the kernel puts the checksum in
	} else {
		binary.BigEndian.PutUint16(packet[2:], checksum(packet))
	}
	f.sent, f.answered = append(f.sent, time.Now()), append(f.answered, false)
	// A missing route is a loss like any other. No answer will come.
	if err := unix.Sendto(f.fd, packet, 0, to); err != nil {
		f.refused[len(f.sent)-1] = err
	}
}

// to returns the flow's destination as a socket knows it.
func (f *Flow) to() unix.Sockaddr {
	if f.dst.Is6() {
		return &unix.SockaddrInet6{Addr: f.dst.As16()}
	}
	return &unix.SockaddrInet4{Addr: f.dst.As4()}
}

// checksum returns the Internet checksum (RFC 1071) of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// receive reads all answers that have arrived.
func (f *Flow) receive() {
	for {
		n, _, err := unix.Recvfrom(f.fd, f.buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.EINTR):
		case err != nil:
			f.mu.Lock()
			f.err = err
			f.mu.Unlock()
			return
		default:
			f.take(f.buf[:n])
		}
	}
}

// receiveLast reads the answers that have arrived, and after Stop those that are under way.
func (f *Flow) receiveLast() {
	f.receive()
	deadline := time.Now().Add(underway)
	for f.stopping.Load() && f.awaitsLast() && time.Now().Before(deadline) {
		wait := int(time.Until(deadline).Milliseconds()) + 1
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(f.fd), Events: unix.POLLIN}}, wait)
		f.receive()
	}
}

// pending returns how many requests a flow with an end has sent, and an error unless it has sent
// all and all are answered.
func (f *Flow) pending() (sent int, err error) {
	f.mu.Lock()
	sent = len(f.sent)
	f.mu.Unlock()
	missing := f.losses() // after the count: a request that is sent in between was not counted
	if sent == f.most && missing == "" {
		return sent, nil
	}
	return sent, fmt.Errorf(
		"%s: %d of %d requests are sent; without an answer, counted from 0:\n%s",
		f.Name, sent, f.most, missing)
}

// quiet returns how long ago the last request was sent.
func (f *Flow) quiet() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Since(f.sent[len(f.sent)-1])
}

// awaitsLast reports whether the last request that was sent may still be answered.
func (f *Flow) awaitsLast() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.sent) - 1; i >= 0; i-- {
		if f.refused[i] == nil {
			return !f.answered[i] && f.err == nil
		}
	}
	return false
}

// take records an answer. It ignores other packets: they can come from the time before the socket
// had its filter.
func (f *Flow) take(packet []byte) {
	header, reply := 0, byte(echoReply6)
	if f.dst.Is4() {
		if len(packet) < 20 {
			return
		}
		header, reply = int(packet[0]&15)*4, echoReply
	}
	if len(packet) < header+12 {
		return
	}
	icmp := packet[header:]
	if icmp[0] != reply || binary.BigEndian.Uint16(icmp[4:]) != f.id {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	i := int(binary.BigEndian.Uint32(icmp[8:]))
	if i < len(f.answered) && !f.answered[i] {
		f.answered[i] = true
		f.last = max(f.last, i)
	}
}

// Requests is a filter for the flow's requests.
func (f *Flow) Requests() Filter { return f.messages(false) }

// Replies is a filter for the replies to the flow's requests.
func (f *Flow) Replies() Filter { return f.messages(true) }

// messages is Requests or Replies.
func (f *Flow) messages(reply bool) Filter {
	return func(p Packet) bool {
		far := p.Dst
		if reply {
			far = p.Src
		}
		return p.Echo.ID == f.id && p.Echo.Reply == reply && far == f.dst
	}
}

// Back waits until a request that the flow sent at or after t is answered, and returns when the
// first such request was sent.
func (f *Flow) Back(t time.Time, within time.Duration) time.Time {
	f.node.net.Helper()
	var first time.Time
	f.node.net.Await(f.Name+" is answered", within, func() error {
		var ok bool
		if first, ok = f.firstAnswered(t); !ok {
			return fmt.Errorf("%d requests lost, none answered", f.unanswered(t))
		}
		return nil
	})
	return first
}

// firstAnswered returns when the first answered request at or after t was sent. It returns false if
// none was answered.
func (f *Flow) firstAnswered(t time.Time) (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, at := range f.sent {
		if !at.Before(t) && f.answered[i] {
			return at, true
		}
	}
	return time.Time{}, false
}

// unanswered returns how many requests sent at or after t have no answer.
func (f *Flow) unanswered(t time.Time) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	count := 0
	for i, at := range f.sent {
		if !at.Before(t) && !f.answered[i] {
			count++
		}
	}
	return count
}

// AnsweredBy says which host answers the flow, for an address that the lab did not give the host. A
// nil host is not known.
func (f *Flow) AnsweredBy(host *Node) {
	f.host = host
	if host != nil {
		f.none = host.unsentReplies()
	}
}

// Loss returns what happened to the requests sent at or after t, up to the newest one that was
// answered: how many the flow sent, how many of them were lost, and the longest outage. Later
// requests do not count, since they may still be answered. To include a time up to now, call Back
// first.
//
// Requests whose replies the host's kernel could not send, by its own count since the flow began,
// do not count as lost: see unsentReplies.
func (f *Flow) Loss(t time.Time) (sent, lost int, longest time.Duration) {
	f.node.net.Helper()
	sent, lost, longest = f.unansweredSince(t)
	if lost == 0 || f.host == nil {
		return sent, lost, longest
	}
	if unsent := f.host.unsentReplies() - f.none; unsent > 0 {
		f.node.net.Logf("%s: of %d requests without an answer, %s could not send up to %d replies",
			f.Name, lost, f.host.Name, unsent)
		lost = max(0, lost-unsent)
	}
	return sent, lost, longest
}

// unansweredSince is Loss, but counts all requests without an answer.
func (f *Flow) unansweredSince(t time.Time) (sent, lost int, longest time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := outage{most: 10 * f.every}
	for i, at := range f.sent[:f.last+1] {
		if at.Before(t) {
			continue
		}
		sent++
		if !f.answered[i] {
			lost++
		}
		o.add(at, !f.answered[i])
	}
	return sent, lost, o.longest
}

// outage measures the longest outage: the time from the sending of a lost request, whose
// predecessor was not lost, to the sending of the next answered one. Of the time between two
// requests it counts at most the field most: if the machine is too busy to send a request for
// longer, the network has no part in that.
type outage struct {
	most    time.Duration
	longest time.Duration

	last time.Time     // when the last request was sent, if it was lost; otherwise zero
	sum  time.Duration // of the outage up to last
}

// add takes the next request: when it was sent, and whether it was lost.
func (o *outage) add(at time.Time, lost bool) {
	if !o.last.IsZero() {
		o.sum += min(at.Sub(o.last), o.most)
		o.longest = max(o.longest, o.sum)
	}
	if o.last = at; !lost {
		o.last, o.sum = time.Time{}, 0
	}
}

// losses lists the requests without an answer, one a line: the time, the flow's name, the number
// and, if the kernel did not send the request, the kernel's error.
func (f *Flow) losses() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var text strings.Builder
	for i, at := range f.sent {
		if f.answered[i] {
			continue
		}
		fmt.Fprintf(&text, "%s\t%s\t%d", at.Format("15:04:05.000"), f.Name, i)
		if err := f.refused[i]; err != nil {
			fmt.Fprintf(&text, "\t%v", err)
		}
		text.WriteByte('\n')
	}
	return text.String()
}

// Stop ends the flow. It waits for the answer to the last request, if that comes within a second,
// so that no packet of the flow is under way when the test goes on to count others. The results
// stay available. Stop fails the test if the flow could not read answers.
func (f *Flow) Stop() {
	f.node.net.Helper()
	f.stopping.Store(true)
	f.close()
	if f.err != nil {
		f.node.net.Fatalf("flow %s: %v", f.Name, f.err)
	}
}

// endTraffic ends the goroutines that use a socket until stop is closed, and closes the socket
// after them.
func endTraffic(stop chan<- struct{}, ended *sync.WaitGroup, fd int) {
	close(stop)
	ended.Wait()
	unix.Close(fd)
}
