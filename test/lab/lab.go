// Package lab builds networks out of network namespaces, for tests and for the demo. A network has
// routers on an underlay, a capture of all packets on the underlay, NAT boxes, and hosts on LANs.
// The routers run stock charon, FRR and cygnetd. A test reads what it asserts from the kernel's
// tables, from charon and from the capture.
//
//	net := lab.New(t)
//	hub := net.Router("hub", lab.Addr("192.0.2.1/24"), lab.LAN("172.16.0.1/24"))
//	spoke := net.Router("spoke1", lab.Addr("192.0.2.11/24"), lab.LAN("172.16.1.1/24"))
//	spoke.Host("pc").Run("ping", "-c1", "172.16.0.1")
//
// The lab needs root and a kernel with GRE and ESP, and uses /run and /dev/shm. So run its tests by
// test/uml/run, which gives them a guest, or by test/host/run, which gives them namespaces of their
// own. Every network has namespaces of its own, so that tests can run one after the other. A failed
// test leaves logs, tables and the capture in test/out/NAME.
package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// T is the part of *testing.T that the lab uses. The demo has its own implementation.
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

// Net is one network of namespaces. The methods of Net and of everything in the network fail the
// test if they cannot do their work, unless they return an error. Call them from the test's
// goroutine.
type Net struct {
	T
	Underlay *Capture // all packets that crossed the underlay since New

	prefix string // the names of the namespaces begin with it
	dir    string // directory on tmpfs with the nodes' files
	inet   *Node  // the node with the bridge that stands for the Internet
	nodes  []*Node

	// hosts has the nodes of the hosts by their addresses.
	hosts map[netip.Addr]*Node

	captures []*Capture
	flows    []*Flow
	forgers  []*Forger
}

// base is the directory in which the networks keep their files. It is on a tmpfs, since unix
// sockets do not work on the hostfs of user-mode Linux.
const base = "/dev/shm/cygnet-lab"

var networks atomic.Int32

// New makes a network that consists of a bridge, the underlay. The capture of the underlay starts
// at once. The network ends with the test.
func New(t T) *Net {
	t.Helper()
	n := &Net{
		T:      t,
		prefix: fmt.Sprintf("lab%d", networks.Add(1)),
		hosts:  make(map[netip.Addr]*Node),
	}
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

// Nodes lists the names of all nodes, in the order in which they were made.
func (n *Net) Nodes() []string {
	var names []string
	for _, node := range n.nodes {
		names = append(names, node.Name)
	}
	return names
}

// ip runs lines of iproute2's batch language on a node.
func (n *Net) ip(node *Node, lines ...string) {
	n.Helper()
	cmd := command("ip", "-n", node.netns(), "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		n.Fatalf("ip in %s: %v\n%s\nof:\n%s", node.Name, err, out, strings.Join(lines, "\n"))
	}
}

// close ends all traffic, captures and nodes. If the test failed, close first saves what shows why.
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

// Root returns the project's directory: the working directory or the nearest one above it that has
// a go.mod. It returns an error if there is none.
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
			return "", fmt.Errorf(
				"no go.mod at or above the working directory: run it inside the project")
		}
		dir = parent
	}
}

// addr parses an address with a prefix length, and fails the test if s is not of that form.
func addr(t T, s string) netip.Prefix {
	t.Helper()
	p, err := netip.ParsePrefix(s)
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	return p
}
