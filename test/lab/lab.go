// Package lab builds networks out of network namespaces for tests and for the demo: routers on an underlay with a capture on
// it, NAT boxes, hosts on LANs, and on the routers stock charon, FRR and cygnetd. What a test asserts it reads from the
// kernel's tables, from charon and from the capture.
//
//	net := lab.New(t)
//	hub := net.Router("hub", lab.Addr("192.0.2.1/24"), lab.LAN("172.16.0.1/24"))
//	spoke := net.Router("spoke1", lab.Addr("192.0.2.11/24"), lab.LAN("172.16.1.1/24"))
//	spoke.Host("pc").Run("ping", "-c1", "172.16.0.1")
//
// It needs root and a kernel with GRE and ESP, and uses /run and /dev/shm: run it by test/uml/run or test/host/run, which
// give it a guest or namespaces of its own. Every network has its own namespaces, so that several can follow each other.
// A failed test leaves logs, tables and the capture in test/out/NAME.
package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// T is what the lab needs of a test. *testing.T has it.
type T interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any) // does not return
	Skipf(format string, args ...any)  // does not return
	Failed() bool
	Cleanup(func())
}

// Net is one network of namespaces. Its methods, and those of all that is in it, fail the test where they cannot do their work,
// and belong to the test's goroutine.
type Net struct {
	T
	Underlay *Capture // all that crossed the underlay since New

	prefix string // of the names of namespaces
	dir    string // on tmpfs: the nodes' files
	inet   *Node  // holds the bridge that stands for the internet
	nodes  []*Node

	captures []*Capture
	flows    []*Flow
	forgers  []*Forger
}

// base is where the networks keep their files: a tmpfs, since hostfs has no working sockets.
const base = "/dev/shm/cygnet-lab"

var networks atomic.Int32

// New makes an empty network: a bridge as the underlay, captured from the start. It ends with the test.
func New(t T) *Net {
	t.Helper()
	n := &Net{T: t, prefix: fmt.Sprintf("lab%d", networks.Add(1))}
	n.dir = filepath.Join(base, n.prefix)
	if err := os.RemoveAll(n.dir); err != nil {
		t.Fatalf("empty the lab's directory: %v", err)
	}
	t.Cleanup(n.close)
	n.inet = n.node("inet")
	n.ip(n.inet,
		"link add br0 type bridge mcast_snooping 0",
		"link set br0 up promisc on")
	n.Underlay = n.inet.Capture("br0")
	return n
}

// Nodes lists the names of all namespaces, in the order of their making.
func (n *Net) Nodes() []string {
	var names []string
	for _, node := range n.nodes {
		names = append(names, node.Name)
	}
	return names
}

// ip runs lines of iproute2's batch language in a node.
func (n *Net) ip(node *Node, lines ...string) {
	n.Helper()
	cmd := command("ip", "-n", node.netns(), "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		n.Fatalf("ip in %s: %v\n%s\nof:\n%s", node.Name, err, out, strings.Join(lines, "\n"))
	}
}

func (n *Net) close() {
	if n.Failed() {
		n.Logf("logs, tables and captures: %s", n.Save())
	}
	for _, f := range n.flows {
		f.close()
	}
	for _, f := range n.forgers {
		f.close()
	}
	for _, c := range n.captures {
		c.close()
	}
	for _, node := range n.nodes {
		node.close()
	}
	if err := os.RemoveAll(n.dir); err != nil {
		n.Errorf("remove the lab's directory: %v", err)
	}
}

// Root is the project's directory: the nearest one at or above the working directory with a go.mod.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the project's directory: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod at or above the working directory: run it inside the project")
		}
		dir = parent
	}
}

func addr(t T, s string) netip.Prefix {
	t.Helper()
	p, err := netip.ParsePrefix(s)
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	return p
}
