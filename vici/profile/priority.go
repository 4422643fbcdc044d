package profile

import "strconv"

// The kernel uses the first policy that fits a packet, in the order of their priorities; a smaller
// number comes first. charon computes some 370,000 for the policies of an SA, and less for those
// that let traffic pass without IPsec: the passthrough policies of its bypass-lan plugin, and
// children with mode = pass. Ours have a fixed number that comes before all these.
const (
	saPriority = 1000

	// A policy without a mark fits packets with any mark, so the policies of SAs with marks come
	// before those without.
	mostSharedPriority = 900
)

// Priority returns the priority of the policies of all SAs of the profile; 0: charon computes it. A
// profile made like a site's connection has the priority that the site configured there.
func (p Profile) Priority() int {
	if p.Site != nil {
		return priorityOf(p.Site.Child)
	}
	return priorityOf(p.child(p.KeyPort))
}

// sharedPriority returns the priority of the policies of SAs with marks.
func (p Profile) sharedPriority() int {
	own := priorityOf(p.child(p.KeyPort))
	if own == 0 {
		return mostSharedPriority
	}
	return min(mostSharedPriority, own-1)
}

// priorityOf returns the priority among the keys of a child; 0 if they have none.
func priorityOf(child map[string]any) int {
	var n int64
	switch v := child["priority"].(type) {
	case int:
		n = int64(v)
	case int64:
		n = v
	case string:
		n, _ = strconv.ParseInt(v, 10, 32)
	}
	return int(n)
}
