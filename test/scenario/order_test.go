//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"cygnet/test/lab"
)

// order tells in which order, and by which ways, the packets of a flow between the hosts of two
// spokes come out of the tunnels, and how often each spoke changed its route to the other one. It
// covers both directions of the flow.
type order struct {
	m      *lab.Mesh
	halves [2]orderOneWay
}

// orderOneWay is one direction of an order: from one spoke to another.
type orderOneWay struct {
	from, to *lab.Site
	arrivals *lab.Capture
	messages lab.Filter
	routes   routeMonitor
	before   int // shortcuts that came before the routes were watched
}

// orderOf prepares to record the order of a flow from the first spoke's host to the second's.
// Shortcuts that were there before have to be up.
func orderOf(m *lab.Mesh, from, to *lab.Site) *order {
	m.Helper()
	o := &order{m: m}
	for i, way := range [2][2]*lab.Site{{from, to}, {to, from}} {
		o.halves[i] = orderOneWay{
			from:     way[0],
			to:       way[1],
			arrivals: way[1].Router.Capture("gre1"),
			routes:   monitorRoutes(m, way[0]),
		}
		o.halves[i].before = len(o.halves[i].logged("shortcut up"))
	}
	return o
}

// start starts the flow.
func (o *order) start(every time.Duration) *lab.Flow {
	o.m.Helper()
	flow := o.halves[0].from.Host.Flow(o.halves[0].to.Host.Addr, every)
	o.halves[0].messages, o.halves[1].messages = flow.Requests(), flow.Replies()
	return flow
}

// arrived lists the packets of one direction in the order of their arrival.
func (o *orderOneWay) arrived() []lab.Packet {
	return o.arrivals.Packets(o.messages, func(p lab.Packet) bool { return !p.Sent })
}

// shortcutChange matches the lines of a routeMonitor in which a route of ours came or went. It
// captures whether it went, its prefix and its MTU.
var shortcutChange = regexp.MustCompile(
	`^\[\S+\] (Deleted )?(172\.16\.\d+\.\d+(?:/\d+)?) .*proto (?:84|cygnet)\b.*?(mtu \d+)?\s*$`)

// routeChanges returns how often the route of a shortcut to the other spoke's LAN came and went,
// and whether any of them had an MTU: each change of that is a deletion and an addition as well.
func (o *orderOneWay) routeChanges() (came, went int, sized bool) {
	for _, change := range o.routes.changes() {
		line := shortcutChange.FindStringSubmatch(change)
		if line == nil || !contains(line[2], o.to.LAN.Addr().String()) {
			continue
		}
		sized = sized || line[3] != ""
		if line[1] == "" {
			came++
		} else {
			went++
		}
	}
	return came, went, sized
}

// came returns how often the shortcut of each spoke has come so far, by the kernels' routes.
func (o *order) came() (times [2]int) {
	o.m.Helper()
	for i := range o.halves {
		times[i], _, _ = o.halves[i].routeChanges()
	}
	return times
}

// noneCame fails the test if a shortcut has come since came returned before.
func (o *order) noneCame(before [2]int, while string) {
	o.m.Helper()
	if now := o.came(); now != before {
		o.m.Errorf("%s, shortcuts came %v times, before that %v", while, now, before)
	}
}

// A line of the daemon's log about a shortcut, with its time, and where its path failed, the
// cool-down.
var (
	shortcutLogged = regexp.MustCompile(`(?m)^time=(\S+) .*msg="(shortcut up|shortcut ended|no shorter way[^"]*)".*prefix=(\S+) .*$`)
	coolDown       = regexp.MustCompile(`direct path.*it is tried again after (\S+?)"`)
)

// logged returns the lines of the log about shortcuts to the other spoke's LAN with a message, or
// with any.
func (o *orderOneWay) logged(message string) (lines [][]string) {
	for _, line := range shortcutLogged.FindAllStringSubmatch(o.from.Daemon.Output(), -1) {
		if line[3] == o.to.LAN.String() && (message == "" || line[2] == message) {
			lines = append(lines, line)
		}
	}
	return lines
}

// coolDownsHeld returns nil if no shortcut to the other spoke's LAN came up before the cool-down of
// its failed path was over, by the log of the daemon, and the log has as many shortcuts as the
// kernel had routes.
func (o *orderOneWay) coolDownsHeld() error {
	var until time.Time
	ups := 0
	for _, line := range o.logged("") {
		at, err := time.Parse(time.RFC3339, line[1])
		if err != nil {
			return err
		}
		if line[2] == "shortcut up" {
			ups++
			if at.Before(until) {
				return fmt.Errorf("a shortcut %s before the cool-down was over: %s",
					until.Sub(at), line[0])
			}
		}
		if found := coolDown.FindStringSubmatch(line[0]); found != nil {
			wait, err := time.ParseDuration(found[1])
			if err != nil {
				return err
			}
			until = at.Add(wait)
		}
	}
	came, went, sized := o.routeChanges()
	return lab.True(sized || came+o.before == ups && went == came-1+min(o.before, 1),
		"the route came %d times and went %d times; the log has %d shortcuts, %d of them from before",
		came, went, ups, o.before)
}

// check fails the test if a direct path was used again before its cool-down was over, if a route
// came or went with no shortcut, or if packets of one way did not keep their order.
//
// Each way keeps the order of the packets, and none arrives twice. So a packet can arrive after one
// that was sent later only on going direct: the packets that are on the longer way by the hub at
// that moment. None does on going back to the hub. check logs how many there were.
func (o *order) check() {
	o.m.Helper()
	for i := range o.halves {
		half := &o.halves[i]
		o.m.Await("the routes from "+half.from.Name+" changed as its log says", soon,
			half.coolDownsHeld)
		half.checkOrder(o.m)
	}
}

// checkOrder checks the order of one direction.
func (o *orderOneWay) checkOrder(m *lab.Mesh) {
	m.Helper()
	late, worst := 0, time.Duration(0)
	changes := 0
	var way netip.Addr
	last := map[netip.Addr]int{} // the number of the newest packet, by its way
	newest, newestAt := -1, time.Time{}
	for _, p := range o.arrived() {
		n := int(p.Echo.Number)
		if before, seen := last[p.Link]; seen && n <= before {
			m.Errorf("packet %d from %s to %s came after packet %d of the same way, %s",
				n, o.from.Name, o.to.Name, before, p.Link)
		}
		last[p.Link] = n
		if n > newest && p.Link != way {
			way = p.Link
			changes++
		}
		switch {
		case n > newest:
			newest, newestAt = n, p.At
		case p.Link != m.Hub.Public:
			m.Errorf("packet %d came directly from %s after packet %d by the hub: out of order on "+
				"going back to the hub", n, o.from.Name, newest)
		default:
			late++
			worst = max(worst, p.At.Sub(newestAt))
		}
	}
	m.Logf("%s to %s: %d changes of the way; on going direct %d packets by the hub were "+
		"overtaken, by at most %s", o.from.Name, o.to.Name, changes-1, late,
		worst.Round(time.Microsecond))
}
