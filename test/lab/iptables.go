package lab

import "strings"

// Iptables runs iptables on the node. It skips the test if the kernel has no IPv4 netfilter for
// iptables, as some builds of user-mode Linux have none.
func (n *Node) Iptables(args ...string) {
	n.net.Helper()
	out, err := n.Try("iptables", args...)
	switch {
	case err != nil && strings.Contains(out, "Operation not supported"):
		n.net.Skipf("this kernel has no netfilter for iptables: %s", strings.TrimSpace(out))
	case err != nil:
		n.net.Fatalf("%v\n%s", err, out)
	}
}
