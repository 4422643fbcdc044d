package lab

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Ping sends count echo requests, one every 50 ms, and fails the test unless all are answered.
func (n *Node) Ping(dst netip.Addr, count int) {
	n.net.Helper()
	out := n.Run("ping", n.vrf.of("-I", "-n", "-c", strconv.Itoa(count), "-i", "0.05", "-W", "3",
		dst.String())...)
	// ping succeeds if one is answered.
	if !strings.Contains(out, fmt.Sprintf(" %d received", count)) {
		n.net.Fatalf("not all of %s's requests are answered:\n%s", n.Name, out)
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
