package lab

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Request says how echo requests are sent. The zero value stands for packets of 84 bytes over IPv4,
// and of 104 over IPv6.
type Request struct {
	Length int    // of the packet with its IP header, in bytes; 0: as above
	DF     string // "do": don't fragment; "dont": all may; "": as the kernel has it
	device string // to which the socket is bound, such as a VRF; empty: to none
}

// The headers of an echo request, in bytes.
const (
	ipv4Header = 20
	ipv6Header = 40
	echoHeader = 8
)

// length returns how long the ICMP message of a request is, in bytes.
func (r Request) length(dst netip.Addr) int {
	switch {
	case r.Length == 0:
		return echoHeader + 56
	case dst.Is6():
		return r.Length - ipv6Header
	}
	return r.Length - ipv4Header
}

// prepare sets the options of a socket that sends the requests.
func (r Request) prepare(fd int, six bool) error {
	if r.device != "" {
		if err := unix.BindToDevice(fd, r.device); err != nil {
			return err
		}
	}
	mode, ok := map[string]int{"do": unix.IP_PMTUDISC_DO, "dont": unix.IP_PMTUDISC_DONT}[r.DF]
	switch {
	case !ok:
		return nil
	case six:
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, mode)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, mode)
}

// Ping sends count echo requests, one every 50 ms, and fails the test unless all are answered.
func (n *Node) Ping(dst netip.Addr, count int) {
	n.net.Helper()
	if err := n.PingAs(dst, count, Request{device: n.vrf.name}); err != nil {
		n.net.Fatalf("%v", err)
	}
}

// PingAs is Ping with requests of another kind, and returns an error unless all are answered, the
// last within three seconds. The program ping is no use here: after it has sent the last request,
// and once one was answered, it waits for the others no longer than twice the longest answer took,
// or than its interval.
func (n *Node) PingAs(dst netip.Addr, count int, echo Request) error {
	n.net.Helper()
	const every, late = 50 * time.Millisecond, 3 * time.Second
	f := n.flow(dst, every, echo, count)
	defer f.Stop()
	for {
		sent, err := f.pending()
		if err == nil || sent == count && f.quiet() > late {
			return err
		}
		time.Sleep(every)
	}
}

// Reaches sends one echo request. It returns nil if the request is answered within a second, and
// otherwise an error for Await.
func (n *Node) Reaches(dst netip.Addr) error {
	out, err := n.Try("ping", n.vrf.of("-I", "-n", "-c", "1", "-W", "1", dst.String())...)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, strings.TrimSpace(out))
	}
	return nil
}

// Train is a running ping.
type Train struct {
	*Process
	interval time.Duration
}

// Train starts to send echo requests to an address, one per interval, until Stop.
func (n *Node) Train(dst netip.Addr, interval time.Duration) *Train {
	n.net.Helper()
	seconds := strconv.FormatFloat(interval.Seconds(), 'f', 3, 64)
	return &Train{
		n.Start("ping-"+dst.String(), nil,
			"ping", "-n", "-D", "-O", "-i", seconds, dst.String()),
		interval,
	}
}

// underway is how long an answer may take. Stop does not count a request as lost while its answer
// may still be under way.
const underway = time.Second

// Stop ends the train and returns how many requests ping sent and how many of them had no answer.
// Requests that were under way at the end count as neither.
func (t *Train) Stop() (sent, lost int) {
	n := t.node.net
	n.Helper()
	// On a busy machine the test may end before ping handles SIGINT. The signal would then end ping
	// without a summary.
	n.Await("ping handles SIGINT", 10*time.Second, func() error {
		if !t.Alive() || t.handles(syscall.SIGINT) {
			return nil
		}
		return fmt.Errorf("it does not yet")
	})
	t.Signal(syscall.SIGINT)
	t.Wait(10 * time.Second)
	out := t.Output()
	at := strings.LastIndex(out, " statistics ---")
	var received int
	if at < 0 {
		n.Fatalf("ping on %s gave no result:\n%s", t.node.Name, out)
	}
	_, summary, _ := strings.Cut(out[at:], "\n")
	if _, err := fmt.Sscanf(
		summary,
		"%d packets transmitted, %d received",
		&sent,
		&received,
	); err != nil {
		n.Fatalf("ping on %s gave an unknown result: %v\n%s", t.node.Name, err, out)
	}
	if last := lastAnswered(out); time.Duration(sent-last)*t.interval < underway {
		sent = last
	}
	return sent, sent - received
}

var answered = regexp.MustCompile(`bytes from .* icmp_seq=(\d+) `)

// lastAnswered returns the highest number of a request that was answered, or 0.
func lastAnswered(out string) int {
	last := 0
	for _, m := range answered.FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(m[1])
		last = max(last, n)
	}
	return last
}
