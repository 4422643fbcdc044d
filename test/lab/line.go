package lab

import "fmt"

// Lose makes the router's line to the underlay lose this percentage of the packets in each
// direction: 100 cuts the line, 0 repairs it. The router's device stays up throughout.
func (r *Router) Lose(percent int) {
	r.net.Helper()
	for node, device := range map[*Node]string{r.Node: "eth0", r.net.inet: r.Name} {
		if percent == 0 {
			node.Run("tc", "qdisc", "del", "dev", device, "root")
			continue
		}
		node.Run("tc", "qdisc", "replace", "dev", device, "root",
			"netem", "loss", fmt.Sprintf("%d%%", percent), "limit", "10000")
	}
}
