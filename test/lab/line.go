package lab

import (
	"fmt"
	"strings"
)

// SecondLine connects the router to the underlay once more, by another device, which is down. Lose
// does nothing to it.
func (r *Router) SecondLine(device string) {
	r.net.Helper()
	port := r.Name + "-2"
	r.net.ip(r.net.inet,
		fmt.Sprintf("link add %s type veth peer name %s netns %s", port, device, r.netns()),
		fmt.Sprintf("link set %s master br0 up", port))
}

// Lose makes the router's line to the underlay lose this percentage of the packets in each
// direction: 100 cuts the line, 0 repairs it. The router's device stays up throughout. Only a cut
// loses ARP as well: packets are lost behind the next router of a real line, and a kernel drops all
// packets to a neighbour whose answer to ARP it did not get three times.
func (r *Router) Lose(percent int) {
	r.net.Helper()
	for node, device := range map[*Node]string{r.Node: "eth0", r.net.inet: r.Name} {
		netem := []string{"netem", "loss", fmt.Sprintf("%d%%", percent), "limit", "10000"}
		switch percent {
		case 0:
			node.Run("tc", "qdisc", "del", "dev", device, "root")
		case 100:
			node.qdisc(device, append([]string{"root"}, netem...)...)
		default:
			node.qdisc(device, strings.Fields("root handle 1: prio bands 2 priomap"+
				strings.Repeat(" 1", 16))...)
			node.qdisc(device, append([]string{"parent", "1:2"}, netem...)...)
			node.Run("tc", "filter", "replace", "dev", device, "parent", "1:", "protocol", "arp",
				"matchall", "flowid", "1:1")
		}
	}
}

// qdisc makes a queueing discipline on a device, in place of the one at the same place.
func (n *Node) qdisc(device string, args ...string) {
	n.net.Helper()
	n.Run("tc", append([]string{"qdisc", "replace", "dev", device}, args...)...)
}

// LoseIPv6 makes the router's line to the underlay lose all packets of IPv6, as a path does whose
// IPv6 is broken. The router's device and addresses stay.
func (r *Router) LoseIPv6(lose bool) {
	r.net.Helper()
	if !lose {
		r.net.inet.Run("tc", "qdisc", "del", "dev", r.Name, "clsact")
		return
	}
	r.net.inet.Run("tc", "qdisc", "add", "dev", r.Name, "clsact")
	for _, direction := range []string{"ingress", "egress"} {
		r.net.inet.Run("tc", "filter", "add", "dev", r.Name, direction, "protocol", "ipv6",
			"matchall", "action", "drop")
	}
}
