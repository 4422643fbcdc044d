package lab

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// machine makes a node of this machine itself.
func (n *Net) machine(name string) *Node {
	n.Helper()
	node := &Node{Name: name, net: n, dir: filepath.Join(n.dir, name), machine: true}
	if err := node.adopt(); err != nil {
		n.Fatalf("make this machine node %s: %v", name, err)
	}
	n.setUp(node)
	return node
}

// adopt gives this machine's network namespace a name, by which iproute2 finds it. It is that of
// process 1: the first thread of this program may be in the namespaces of another node, see create.
func (n *Node) adopt() error {
	if err := os.MkdirAll(filepath.Join(n.dir, "log"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(n.netPath(), nil, 0o644); err != nil {
		return err
	}
	if err := mount("/proc/1/ns/net", n.netPath(), "", unix.MS_BIND); err != nil {
		return err
	}
	var err error
	n.ns, err = os.Open("/proc/1/ns/net")
	return err
}

// closeMachine ends what the test started on the machine, and leaves the rest of the machine alone.
func (n *Node) closeMachine() {
	for _, p := range n.jobs {
		if p.Alive() {
			unix.Kill(-p.Pid(), unix.SIGKILL)
		}
		<-p.exited
	}
	n.ns.Close()
	if err := unix.Unmount(n.netPath(), unix.MNT_DETACH); err != nil {
		n.net.Errorf("unmount %s: %v", n.netPath(), err)
	}
	os.Remove(n.netPath())
}

// Ready tells the service manager that this program, as a service, is ready. Services that are
// ordered after it then start.
func (n *Net) Ready() {
	n.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		err = unix.Sendto(
			fd,
			[]byte("READY=1"),
			0,
			&unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")},
		)
	}
	if err != nil {
		n.Fatalf(
			"tell the service manager that the job is ready: %v",
			fmt.Errorf("send READY=1: %w", err),
		)
	}
}
