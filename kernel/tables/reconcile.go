package tables

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/schedule"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// reconciler compares what is wanted with the kernel's tables, and changes the tables. It belongs
// to the goroutine of Tables.Run.
type reconciler struct {
	log       *slog.Logger
	requests  *rtnl.Conn // nil: not open
	links     rtnl.Links
	neighbors map[rtnl.NeighborKey]netip.Addr // the wanted neighbours, with their NBMA addresses
	routes    map[rtnl.RouteKey]rtnl.Way      // the wanted routes, with their ways
	devices   map[string]int                  // how many wanted entries each device has
	rules     map[rtnl.Rule]int               // how many wanted routes and owners need each rule
	pinned    map[string]rtnl.Rule            // the rule of each owner; see Tables.Pin
	rule      map[rtnl.RouteKey]rtnl.Rule     // the rule of each wanted route that needs one

	// leftover holds, until settled, the routes of an earlier run that nobody has wanted yet. A
	// wanted route of the same key replaces them at once.
	leftover map[rtnl.RouteKey][]rtnl.Route

	// absent holds the wanted entries that are not in the kernel, with the reason. Its keys are
	// rtnl.NeighborKey, rtnl.RouteKey and rtnl.Rule.
	absent map[any]string

	settled bool // Tables.Settle was called

	// withdrawn holds the entries that were withdrawn before settled; see withdraw. Its keys are
	// rtnl.NeighborKey and rtnl.RouteKey.
	withdrawn map[any]struct{}

	// secured has, until settled, the function of each device that says to which NBMA addresses
	// there are SAs; see Tables.RemoveUnsecured.
	secured map[string]func(nbma netip.Addr) bool

	compared time.Time // when the tables were last compared
	stats    Stats
}

// waitsForDevice is the reason in absent of an entry whose device is missing or down.
const waitsForDevice = ""

// newReconciler returns a reconciler without wanted entries. See Tables.room.
func newReconciler(log *slog.Logger, room int) *reconciler {
	return &reconciler{
		log:       log,
		links:     make(rtnl.Links),
		neighbors: make(map[rtnl.NeighborKey]netip.Addr, room),
		routes:    make(map[rtnl.RouteKey]rtnl.Way),
		devices:   make(map[string]int),
		rules:     make(map[rtnl.Rule]int),
		pinned:    make(map[string]rtnl.Rule),
		rule:      make(map[rtnl.RouteKey]rtnl.Rule),
		absent:    make(map[any]string),
		withdrawn: make(map[any]struct{}),
		secured:   make(map[string]func(netip.Addr) bool),
		stats:     Stats{Failures: make(map[string]uint64), Resyncs: make(map[string]uint64)},
	}
}

// close closes the socket, if it is open.
func (r *reconciler) close() {
	if r.requests != nil {
		r.requests.Close()
		r.requests = nil
	}
}

// work carries out the requests of an inbox. If there is a cause, or if the inbox asks for a
// comparison, work compares everything with the kernel.
func (r *reconciler) work(in inbox, cause string) error {
	switch {
	case cause != "":
	case in.settle && !r.settled:
		cause = causeSettle
	case len(in.secured) > 0 && !r.settled:
		cause = causeUnsecured
	case in.resync:
		cause = schedule.CauseAsked
	}
	r.settled = r.settled || in.settle
	r.withdraw(in)
	if r.settled {
		r.secured = nil
	} else {
		maps.Copy(r.secured, in.secured)
	}
	changes := r.want(in)
	err := r.connected(func() error {
		if cause != "" {
			return r.resync(cause)
		}
		return r.execute(changes)
	})
	r.count()
	return err
}

// connected runs f with an open socket. After an error the state of the socket is unknown, so the
// next call opens another.
func (r *reconciler) connected(f func() error) (err error) {
	if r.requests == nil {
		if r.requests, err = rtnl.Open(); err != nil {
			return err
		}
	}
	if err := f(); err != nil {
		r.close()
		return err
	}
	return nil
}

// withdraw remembers which entries were withdrawn before settled. Until then a comparison keeps the
// entries of an earlier run that nobody wants, because they may still become wanted. A withdrawn
// entry must not be kept. Without this record, a withdrawal would have no effect until settled if
// it came together with a comparison, or if the kernel refused it.
func (r *reconciler) withdraw(in inbox) {
	if r.settled {
		r.withdrawn = nil
		return
	}
	for k, w := range in.neighbors {
		r.record(k, w.gone)
	}
	for k, w := range in.routes {
		r.record(k, w.gone)
	}
}

// record adds a withdrawn entry to withdrawn, and removes an entry that is wanted again.
func (r *reconciler) record(key any, gone bool) {
	if gone {
		r.withdrawn[key] = struct{}{}
	} else {
		delete(r.withdrawn, key)
	}
}

// want takes over the wishes of an inbox, and returns the changes that they need in the kernel.
func (r *reconciler) want(in inbox) plan {
	p := plan{addNeighbors: make([]rtnl.Neighbor, 0, len(in.neighbors))}
	rules := maps.Clone(r.rules)
	for k, w := range in.neighbors {
		before, had := r.neighbors[k]
		if w.gone {
			r.forget(k.Device, k, had)
			delete(r.neighbors, k)
			p.deleteNeighbors = append(p.deleteNeighbors,
				rtnl.Neighbor{Device: k.Device, Protocol: k.Protocol, NBMA: before})
			continue
		}
		r.remember(k.Device, had)
		r.neighbors[k] = w.address
		p.addNeighbors = append(p.addNeighbors,
			rtnl.Neighbor{Device: k.Device, Protocol: k.Protocol, NBMA: w.address})
	}
	for k, w := range in.routes {
		before, had := r.routes[k]
		leftover := r.leftover[k]
		delete(r.leftover, k)
		if had {
			leftover = append(leftover, k.By(before))
		}
		for _, old := range leftover {
			if w.gone {
				p.deleteRoutes = append(p.deleteRoutes, old)
			} else {
				p.replace(old, w.way())
			}
		}
		r.needRule(k, w)
		if w.gone {
			r.forget(k.Device, k, had)
			delete(r.routes, k)
			continue
		}
		r.remember(k.Device, had)
		r.routes[k] = w.way()
		p.addRoutes = append(p.addRoutes, k.By(w.way()))
	}
	for owner, rule := range in.pinned {
		r.pin(owner, rule)
	}
	p.addRules, p.deleteRules = diffRules(r.rules, slices.Collect(maps.Keys(rules)), nil)
	for _, rule := range p.deleteRules {
		delete(r.absent, rule)
	}
	return p
}

// needRule counts the rule that a route needs from now on.
func (r *reconciler) needRule(k rtnl.RouteKey, w wish) {
	if before, had := r.rule[k]; had {
		delete(r.rule, k)
		r.releaseRule(before)
	}
	if w.rule != (rtnl.Rule{}) && !w.gone {
		r.rule[k] = w.rule
		r.rules[w.rule]++
	}
}

// pin counts the rule that an owner needs from now on.
func (r *reconciler) pin(owner string, rule rtnl.Rule) {
	if before, had := r.pinned[owner]; had {
		delete(r.pinned, owner)
		r.releaseRule(before)
	}
	if rule != (rtnl.Rule{}) {
		r.pinned[owner] = rule
		r.rules[rule]++
	}
}

// releaseRule stops counting a rule for one route or owner.
func (r *reconciler) releaseRule(rule rtnl.Rule) {
	if r.rules[rule]--; r.rules[rule] == 0 {
		delete(r.rules, rule)
	}
}

// remember counts a wanted entry of a device. had says that the entry was wanted before.
func (r *reconciler) remember(device string, had bool) {
	if !had {
		r.devices[device]++
	}
}

// forget is the opposite of remember, for an entry that is not wanted any more.
func (r *reconciler) forget(device string, key any, had bool) {
	delete(r.absent, key)
	if !had {
		return
	}
	if r.devices[device]--; r.devices[device] == 0 {
		delete(r.devices, device)
	}
}

// resync reads the kernel's tables, compares them with what is wanted, and corrects the
// differences.
func (r *reconciler) resync(cause string) error {
	r.stats.Resyncs[cause]++
	r.compared = time.Now()
	links, err := r.requests.Links()
	if err != nil {
		return err
	}
	r.links = links
	neighbors, err := r.requests.Neighbors(links)
	if err != nil {
		return err
	}
	routes, err := r.requests.OwnRoutes(links)
	if err != nil {
		return err
	}
	own, others, err := r.requests.Rules()
	if err != nil {
		return err
	}
	// A device that went down a moment ago may have entries that were added while it went down.
	// They wait for the device like all others.
	up := links.Up()
	neighbors = slices.DeleteFunc(neighbors, func(e rtnl.NeighborEntry) bool {
		return up[e.Device] == 0
	})
	addNeighbors, strayNeighbors := diffNeighbors(r.neighbors, neighbors)
	addRoutes, replaced, strayRoutes := diffRoutes(r.routes, routes)
	addRules, strayRules := diffRules(r.rules, own, others)
	p := plan{
		addNeighbors: addNeighbors,
		addRules:     addRules,
		addRoutes:    addRoutes,
	}
	for _, old := range replaced {
		p.replace(old, r.routes[old.Key()])
	}
	r.leftover = nil
	if r.settled {
		p.deleteRoutes = append(p.deleteRoutes, strayRoutes...)
		p.deleteRules, p.deleteNeighbors = strayRules, strayNeighbors
	} else {
		unsecured := r.unsecured(strayNeighbors)
		p.deleteNeighbors, _ = split(strayNeighbors, func(n rtnl.Neighbor) bool {
			return r.isWithdrawn(n.Key()) || unsecured[n.Key()]
		})
		gone, kept := split(strayRoutes, func(route rtnl.Route) bool {
			hop := rtnl.NeighborKey{Device: route.Device, Protocol: route.NextHop}
			return r.isWithdrawn(route.Key()) || unsecured[hop]
		})
		p.deleteRoutes = append(p.deleteRoutes, gone...)
		r.keep(kept)
	}
	r.present(p)
	if err := r.execute(p); err != nil {
		return err
	}
	r.report(cause, p)
	return nil
}

// isWithdrawn reports whether an entry was withdrawn before settled.
func (r *reconciler) isWithdrawn(key any) bool {
	_, withdrawn := r.withdrawn[key]
	return withdrawn
}

// unsecured returns those neighbours of an earlier run whose NBMA address has no SA.
func (r *reconciler) unsecured(left []rtnl.Neighbor) map[rtnl.NeighborKey]bool {
	unsecured := make(map[rtnl.NeighborKey]bool)
	for _, n := range left {
		if secured := r.secured[n.Device]; secured != nil && !secured(n.NBMA) {
			unsecured[n.Key()] = true
		}
	}
	return unsecured
}

// split returns the elements for which f returns true, and the others.
func split[T any](all []T, f func(T) bool) (yes, no []T) {
	for _, e := range all {
		if f(e) {
			yes = append(yes, e)
		} else {
			no = append(no, e)
		}
	}
	return yes, no
}

// keep remembers routes of an earlier run, so that a wanted route of the same key replaces them at
// once.
func (r *reconciler) keep(routes []rtnl.Route) {
	r.leftover = make(map[rtnl.RouteKey][]rtnl.Route, len(routes))
	for _, route := range routes {
		r.leftover[route.Key()] = append(r.leftover[route.Key()], route)
	}
}

// present removes from absent the entries that the comparison found in the kernel. It keeps the
// entries that are about to be added.
func (r *reconciler) present(p plan) {
	missing := make(map[any]string, len(p.addNeighbors)+len(p.addRules)+len(p.addRoutes))
	for _, rule := range p.addRules {
		missing[rule] = r.absent[rule]
	}
	for _, n := range p.addNeighbors {
		missing[n.Key()] = r.absent[n.Key()]
	}
	for _, route := range p.addRoutes {
		missing[route.Key()] = r.absent[route.Key()]
	}
	r.absent = missing
}

// report counts and logs what a comparison changed. An entry that the kernel does not take yet is
// in absent and does not count.
func (r *reconciler) report(cause string, p plan) {
	restored := 0
	for _, n := range p.addNeighbors {
		if _, absent := r.absent[n.Key()]; !absent {
			restored++
		}
	}
	for _, rule := range p.addRules {
		if _, absent := r.absent[rule]; !absent {
			restored++
		}
	}
	for _, route := range p.addRoutes {
		if _, absent := r.absent[route.Key()]; !absent {
			restored++
		}
	}
	removed := len(p.resized) + len(p.deleteRoutes) + len(p.deleteRules) + len(p.deleteNeighbors)
	r.stats.Restored += uint64(restored)
	r.stats.Removed += uint64(removed)
	if restored+removed > 0 {
		r.log.Info("brought the kernel's tables in step",
			"cause", cause, "added", restored, "removed", removed)
	}
}

// step is one message of a plan and the entry that it is about.
type step struct {
	operation string         // "add" or "delete"
	neighbor  *rtnl.Neighbor // nil: the step is about something else, as with the others
	rule      *rtnl.Rule
	route     *rtnl.Route
}

// what returns the entry.
func (s *step) what() fmt.Stringer {
	switch {
	case s.neighbor != nil:
		return s.neighbor
	case s.rule != nil:
		return s.rule
	}
	return s.route
}

// key returns the entry's key in absent.
func (s *step) key() any {
	switch {
	case s.neighbor != nil:
		return s.neighbor.Key()
	case s.rule != nil:
		return *s.rule
	}
	return s.route.Key()
}

// execute carries out a plan. It counts and logs the messages that the kernel refuses, and keeps
// wanted entries that are not in the kernel in absent.
func (r *reconciler) execute(p plan) error {
	if p.size() == 0 {
		return nil
	}
	up := r.links.Up()
	messages, steps := make([]netlink.Message, 0, p.size()), make([]step, 0, p.size())
	take := func(s step, m netlink.Message) {
		messages, steps = append(messages, m), append(steps, s)
	}
	for i := range p.addNeighbors {
		if n := &p.addNeighbors[i]; up[n.Device] != 0 {
			take(step{operation: "add", neighbor: n}, rtnl.AddNeighbor(*n, up[n.Device]))
		} else {
			r.absent[n.Key()] = waitsForDevice
		}
	}
	for i := range p.addRules {
		take(step{operation: "add", rule: &p.addRules[i]}, rtnl.AddRule(p.addRules[i]))
	}
	remove := func(routes []rtnl.Route) {
		for i := range routes {
			if route := &routes[i]; up[route.Device] != 0 {
				take(step{operation: "delete", route: route},
					rtnl.DeleteRoute(*route, up[route.Device]))
			}
		}
	}
	remove(p.resized)
	for i := range p.addRoutes {
		if route := &p.addRoutes[i]; up[route.Device] != 0 {
			take(step{operation: "add", route: route}, rtnl.AddRoute(*route, up[route.Device]))
		} else {
			r.absent[route.Key()] = waitsForDevice
		}
	}
	remove(p.deleteRoutes)
	for i := range p.deleteRules {
		take(step{operation: "delete", rule: &p.deleteRules[i]}, rtnl.DeleteRule(p.deleteRules[i]))
	}
	for i := range p.deleteNeighbors {
		if n := &p.deleteNeighbors[i]; up[n.Device] != 0 {
			take(step{operation: "delete", neighbor: n}, rtnl.DeleteNeighbor(n.Key(), up[n.Device]))
		}
	}
	return r.send(messages, steps)
}

// send sends the messages of a plan and notes what became of each step.
func (r *reconciler) send(messages []netlink.Message, steps []step) error {
	refused := make(map[int]error)
	err := r.requests.Change(messages, func(i int, err error) { refused[i] = err })
	if err != nil {
		return err
	}
	for i := range steps {
		switch s, err := &steps[i], refused[i]; {
		case s.operation == "delete":
			r.deleted(s, err)
		case err == nil || errors.Is(err, unix.EEXIST):
			r.there(s)
		case deviceGone(err):
			r.absent[s.key()] = waitsForDevice
		default:
			r.refused(s, err)
		}
	}
	return nil
}

// there notes that the kernel has a wanted entry.
func (r *reconciler) there(s *step) {
	if len(r.absent) > 0 {
		delete(r.absent, s.key())
	}
}

// deleted counts and logs the refusal of a deletion. An entry that is gone already is no failure.
func (r *reconciler) deleted(s *step, err error) {
	if err == nil || deviceGone(err) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return
	}
	r.stats.Failures[failure(s, err)]++
	r.log.Warn("the kernel refused a change", "event", "kernel-refused",
		"error", fmt.Errorf("%s %s: %w", s.operation, s.what(), err))
}

// refused notes that the kernel refused a wanted entry. It logs the refusal unless the last try had
// the same result.
func (r *reconciler) refused(s *step, err error) {
	key, reason := s.key(), failure(s, err)
	r.stats.Failures[reason]++
	if r.absent[key] != reason {
		r.log.Warn("the kernel refused a change, trying again later", "event", "kernel-refused",
			"error", fmt.Errorf("%s %s: %w", s.operation, s.what(), err))
	}
	r.absent[key] = reason
}

// failure names an operation and the kernel's reason. It leaves the entry out, so that there are
// few different failures to count.
func failure(s *step, err error) string {
	kind := "neighbour"
	switch {
	case s.rule != nil:
		kind = "rule"
	case s.route != nil:
		kind = "route"
	}
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return s.operation + " " + kind
	}
	return s.operation + " " + kind + ": " + errno.Error()
}

// deviceGone reports whether the kernel refused a change because the device is missing or down.
func deviceGone(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENETDOWN) ||
		errors.Is(err, unix.ENXIO)
}

// count brings the numbers of entries in stats up to date.
func (r *reconciler) count() {
	s := &r.stats
	s.WantedNeighbors, s.WantedRoutes, s.WantedRules = len(r.neighbors), len(r.routes), len(r.rules)
	s.Waiting, s.Failing = 0, 0
	for _, reason := range r.absent {
		if reason == waitsForDevice {
			s.Waiting++
		} else {
			s.Failing++
		}
	}
}
