package lab

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// unsentReplies returns how many ICMP messages the node's kernel could not send, by its counter
// OutErrors. The kernel's ICMP socket has room for some 170 small replies that the network has not
// taken yet. When a busy guest stands still for a second, replies wait that long, and further ones
// are never sent: 46 of 11,115 were seen so. No router on the way has a part in that.
func (n *Node) unsentReplies() int {
	n.net.Helper()
	var count int
	err := n.Inside(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		count, err = outErrors(string(text))
		return err
	})
	if err != nil {
		n.net.Fatalf("the ICMP counters of %s: %v", n.Name, err)
	}
	return count
}

// outErrors returns the counter OutErrors of ICMP from the text of /proc/net/snmp. There are two
// lines for ICMP: the names of the counters, and their values.
func outErrors(snmp string) (int, error) {
	var names []string
	for line := range strings.Lines(snmp) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Icmp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		at := slices.Index(names, "OutErrors")
		if at < 0 || at >= len(fields) {
			break
		}
		return strconv.Atoi(fields[at])
	}
	return 0, fmt.Errorf("no counter OutErrors in %q", snmp)
}
