package lab

import "fmt"

// Lose has the router's line lose that many of a hundred packets in each direction: with 100 it is cut, with 0 as good as new. The
// router's device does not notice.
func (r *Router) Lose(percent int) {
	r.net.Helper()
	for node, device := range map[*Node]string{r.Node: "eth0", r.net.inet: r.Name} {
		if percent == 0 {
			node.Run("tc", "qdisc", "del", "dev", device, "root")
			continue
		}
		node.Run("tc", "qdisc", "replace", "dev", device, "root", "netem", "loss", fmt.Sprintf("%d%%", percent), "limit", "10000")
	}
}
