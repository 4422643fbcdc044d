package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Node is a machine of the network: a network namespace and a mount namespace. The mount namespace
// has its own /run, /var/lib, /etc/cygnet, /etc/swanctl, /etc/strongswan.conf, /etc/frr and
// /etc/hosts, so that every daemon finds its files in the usual places.
type Node struct {
	Name string

	net  *Net
	dir  string     // directory with the node's files, as seen from outside the node
	ns   *os.File   // the network namespace
	mnt  *os.File   // the mount namespace
	jobs []*Process // the programs that Start started

	machine bool // the node is this machine: it has no namespaces and no files of its own

	vrf vrf // where Routes, NextHop, Ping and Reaches look
}

// own lists the paths of /etc that each node has for itself. All other paths are the host's.
var own = []string{
	"hosts",
	"cygnet",
	"swanctl",
	"strongswan.conf",
	"strongswan.d",
	"ipsec.conf",
	"ipsec.secrets",
	"ipsec.d",
	"frr",
}

// node makes a node that is connected to nothing.
func (n *Net) node(name string) *Node {
	n.Helper()
	node := &Node{Name: name, net: n, dir: filepath.Join(n.dir, name)}
	if err := node.create(); err != nil {
		n.Fatalf("make node %s: %v", name, err)
	}
	n.setUp(node)
	return node
}

// setUp adds a node to the network, and sets its kernel's parameters.
func (n *Net) setUp(node *Node) {
	n.Helper()
	n.nodes = append(n.nodes, node)
	n.ip(node, "link set lo up")
	node.Sysctl("net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0",
		"net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.default.send_redirects=0")
	if HasIPv6() {
		node.Sysctl("net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
	}
}

// HasIPv6 reports whether the kernel has IPv6. One booted with ipv6.disable=1 has none.
func HasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6/conf")
	return err == nil
}

// netns returns the name of the node's namespaces.
func (n *Node) netns() string { return n.net.prefix + "-" + n.Name }

// netPath returns the path of the node's network namespace, by which iproute2 finds it.
func (n *Node) netPath() string { return "/run/netns/" + n.netns() }

// mntPath returns the path of the node's mount namespace.
func (n *Node) mntPath() string { return "/run/mntns/" + n.netns() }

// create makes the namespaces and gives them names in /run/netns and /run/mntns.
func (n *Node) create() error {
	for _, dir := range []string{
		"run/lock", "run/cygnet", "var-lib/cygnet", "etc", "host-etc", "log",
	} {
		if err := os.MkdirAll(filepath.Join(n.dir, dir), 0o755); err != nil {
			return err
		}
	}
	for _, path := range []string{n.netPath(), n.mntPath()} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return err
		}
	}
	if err := privateMount("/run/mntns"); err != nil {
		return err
	}
	made, done := make(chan error), make(chan struct{})
	go func() {
		// The thread stays locked, so that it ends with this goroutine: it is in the node's
		// namespaces, where no other goroutine must run.
		runtime.LockOSThread()
		made <- n.unshare()
		<-done
	}()
	defer close(done)
	if err := <-made; err != nil {
		return err
	}
	return mount(fmt.Sprintf("/proc/self/fd/%d", n.mnt.Fd()), n.mntPath(), "", unix.MS_BIND)
}

// unshare moves the calling thread into new namespaces and sets them up.
func (n *Node) unshare() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("new network namespace: %w", err)
	}
	if err := mount("/proc/thread-self/ns/net", n.netPath(), "", unix.MS_BIND); err != nil {
		return err
	}
	var err error
	if n.ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("new mount namespace: %w", err)
	}
	if err := n.mounts(); err != nil {
		return err
	}
	n.mnt, err = os.Open("/proc/thread-self/ns/mnt")
	return err
}

// mounts mounts the node's own directories over those of the host.
func (n *Node) mounts() error {
	at := func(name string) string { return filepath.Join(n.dir, name) }
	if err := mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE); err != nil {
		return err
	}
	if err := mount("/etc", at("host-etc"), "", unix.MS_BIND); err != nil {
		return err
	}
	entries, err := os.ReadDir("/etc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isOwn(e.Name()) {
			continue
		}
		if err := os.Symlink(
			filepath.Join(at("host-etc"), e.Name()),
			filepath.Join(at("etc"), e.Name()),
		); err != nil {
			return err
		}
	}
	for _, dir := range []string{"cygnet", "swanctl", "frr"} {
		if err := os.MkdirAll(filepath.Join(at("etc"), dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(at("etc/hosts"), []byte("127.0.0.1 localhost\n"), 0o644); err != nil {
		return err
	}
	return errors.Join(
		mount(at("etc"), "/etc", "", unix.MS_BIND),
		mount(at("run"), "/run", "", unix.MS_BIND),
		mount(at("var-lib"), "/var/lib", "", unix.MS_BIND),
		mount("sysfs", "/sys", "sysfs", 0), // shows the devices of the network namespace
		mount("bpf", "/sys/fs/bpf", "bpf", 0),
		mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0), // `ip vrf exec` makes groups there
	)
}

// isOwn reports whether each node has a path of /etc for itself.
func isOwn(name string) bool {
	for _, o := range own {
		if o == name {
			return true
		}
	}
	return false
}

// privateMount makes dir a mount of its own that does not propagate, unless it is a mount already.
// Only in such a mount can a bind mount give a mount namespace a name.
func privateMount(dir string) error {
	var st, up unix.Stat_t
	if err := errors.Join(unix.Stat(dir, &st), unix.Stat(filepath.Dir(dir), &up)); err != nil {
		return fmt.Errorf("stat %s: %w", dir, err)
	}
	if st.Dev != up.Dev {
		return nil
	}
	entries, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if strings.Contains(string(entries), " "+dir+" ") {
		return nil
	}
	if err := mount(dir, dir, "", unix.MS_BIND); err != nil {
		return err
	}
	return mount("none", dir, "", unix.MS_PRIVATE)
}

// mount mounts a file system or, with MS_BIND, a directory or file.
func mount(source, target, fstype string, flags uintptr) error {
	if err := unix.Mount(source, target, fstype, flags, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}

// Inside runs f on a thread that is in the node's namespaces, and returns f's error.
func (n *Node) Inside(f func() error) error {
	if n.machine {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread stays locked, as in create
		done <- errors.Join(n.enter(), f())
	}()
	return <-done
}

// enter moves the calling thread into the node's namespaces.
func (n *Node) enter() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("enter %s: %w", n.Name, err)
	}
	if err := unix.Setns(int(n.mnt.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter the mount namespace of %s: %w", n.Name, err)
	}
	if err := unix.Setns(int(n.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network namespace of %s: %w", n.Name, err)
	}
	return nil
}

// Path returns the path by which the test reaches a file that the node has under /run, /var/lib or
// /etc.
func (n *Node) Path(inside string) string {
	if n.machine {
		return inside
	}
	if rest, ok := strings.CutPrefix(inside, "/var/lib/"); ok {
		return filepath.Join(n.dir, "var-lib", rest)
	}
	return filepath.Join(n.dir, inside)
}

// WriteFile writes a file of the node, and makes the directories that it needs.
func (n *Node) WriteFile(inside string, mode os.FileMode, text string) {
	n.net.Helper()
	path := n.Path(inside)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		n.net.Fatalf("%s: %v", n.Name, err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		n.net.Fatalf("%s: %v", n.Name, err)
	}
}

// Sysctl sets kernel parameters of the node. Each setting is "name=value".
func (n *Node) Sysctl(settings ...string) {
	n.net.Helper()
	err := n.Inside(func() error {
		var errs []error
		for _, s := range settings {
			name, value, _ := strings.Cut(s, "=")
			path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
			errs = append(errs, os.WriteFile(path, []byte(value), 0o644))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		n.net.Fatalf("%s: sysctl: %v", n.Name, err)
	}
}

// IP runs lines of iproute2's batch language, such as "route add …", on the node.
func (n *Node) IP(lines ...string) {
	n.net.Helper()
	n.net.ip(n, lines...)
}

// close ends all processes of the node and removes its namespaces.
func (n *Node) close() {
	if n.machine {
		n.closeMachine()
		return
	}
	n.killAll()
	for _, f := range []*os.File{n.mnt, n.ns} {
		if f != nil {
			f.Close()
		}
	}
	for _, path := range []string{n.mntPath(), n.netPath()} {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			n.net.Errorf("unmount %s: %v", path, err)
		}
		os.Remove(path)
	}
}

// EnterScript returns a shell script that runs a command on a node of this network. The arguments
// of the script are the node's name and the command.
func (n *Net) EnterScript() string {
	return `#!/bin/sh
[ $# -ge 2 ] || { echo "usage: on NODE COMMAND..." >&2; exit 64; }
node=` + n.prefix + `-$1
[ -e "/run/netns/$node" ] || { echo "there is no node $1" >&2; exit 68; }
shift
exec nsenter --net="/run/netns/$node" --mount="/run/mntns/$node" --wd=/ "$@"
`
}
