package lab

import "strings"

// Iptables gives the node's kernel a rule. Where the kernel has no IPv4 netfilter for iptables, as some builds of user-mode Linux, the
// test is skipped.
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
