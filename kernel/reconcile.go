package kernel

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// reconciler is Tables' working half: it belongs to Run's goroutine.
type reconciler struct {
	log       *slog.Logger
	requests  *requests // nil: to be opened
	links     linkTable
	neighbors map[neighborKey]netip.Addr
	routes    map[routeKey]netip.Addr
	devices   map[string]int // how many wanted entries each device has
	leftover  map[routeKey][]Route
	absent    map[any]string // wanted entries (by neighborKey or routeKey) that are not in the kernel, and why
	settled   bool
	compared  time.Time // when the tables were last compared
	stats     TablesStats
}

const waitsForDevice = "" // the reason of entries in absent that only wait

func newReconciler(log *slog.Logger) *reconciler {
	return &reconciler{
		log: log, links: make(linkTable), neighbors: make(map[neighborKey]netip.Addr), routes: make(map[routeKey]netip.Addr),
		devices: make(map[string]int), absent: make(map[any]string),
		stats: TablesStats{Failures: make(map[string]uint64), Resyncs: make(map[string]uint64)},
	}
}

func (r *reconciler) close() {
	if r.requests != nil {
		r.requests.close()
		r.requests = nil
	}
}

// work carries out what was asked for. With a cause, or where comparing is asked for, it compares everything with the kernel.
func (r *reconciler) work(in inbox, cause string) error {
	switch {
	case cause != "":
	case in.settle && !r.settled:
		cause = causeSettle
	case in.resync:
		cause = causeAsked
	}
	r.settled = r.settled || in.settle
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

// connected runs f with a socket. After an error the socket's state is unknown, so the next time gets another.
func (r *reconciler) connected(f func() error) (err error) {
	if r.requests == nil {
		if r.requests, err = openRequests(); err != nil {
			return err
		}
	}
	if err := f(); err != nil {
		r.close()
		return err
	}
	return nil
}

// want takes over wishes and returns what follows from them for the kernel.
func (r *reconciler) want(in inbox) plan {
	var p plan
	for k, w := range in.neighbors {
		before, had := r.neighbors[k]
		if w.gone {
			r.forget(k.device, k, had)
			delete(r.neighbors, k)
			p.deleteNeighbors = append(p.deleteNeighbors, Neighbor{k.device, k.protocol, before})
			continue
		}
		r.remember(k.device, had)
		r.neighbors[k] = w.address
		p.addNeighbors = append(p.addNeighbors, Neighbor{k.device, k.protocol, w.address})
	}
	for k, w := range in.routes {
		before, had := r.routes[k]
		leftover := r.leftover[k]
		delete(r.leftover, k)
		if had {
			leftover = append(leftover, k.via(before))
		}
		for _, old := range leftover {
			if w.gone || old.NextHop != w.address {
				p.deleteRoutes = append(p.deleteRoutes, old)
			}
		}
		if w.gone {
			r.forget(k.device, k, had)
			delete(r.routes, k)
			continue
		}
		r.remember(k.device, had)
		r.routes[k] = w.address
		p.addRoutes = append(p.addRoutes, k.via(w.address))
	}
	return p
}

func (r *reconciler) remember(device string, had bool) {
	if !had {
		r.devices[device]++
	}
}

func (r *reconciler) forget(device string, key any, had bool) {
	delete(r.absent, key)
	if !had {
		return
	}
	if r.devices[device]--; r.devices[device] == 0 {
		delete(r.devices, device)
	}
}

// resync reads the kernel's tables and puts right what differs from what is wanted.
func (r *reconciler) resync(cause string) error {
	r.stats.Resyncs[cause]++
	r.compared = time.Now()
	links, err := r.requests.dumpLinks()
	if err != nil {
		return err
	}
	r.links = links
	neighbors, err := r.requests.dumpNeighbors(links)
	if err != nil {
		return err
	}
	routes, err := r.requests.dumpOwnRoutes(links)
	if err != nil {
		return err
	}
	addNeighbors, strayNeighbors := diffNeighbors(r.neighbors, neighbors)
	addRoutes, replaced, strayRoutes := diffRoutes(r.routes, routes)
	p := plan{addNeighbors: addNeighbors, addRoutes: addRoutes, deleteRoutes: replaced}
	r.leftover = nil
	if r.settled {
		p.deleteRoutes = append(p.deleteRoutes, strayRoutes...)
		p.deleteNeighbors = strayNeighbors
	} else {
		r.keep(strayRoutes)
	}
	r.present(p)
	if err := r.execute(p); err != nil {
		return err
	}
	r.report(cause, p)
	return nil
}

// keep remembers routes of an earlier run, so that a wanted one takes their place at once.
func (r *reconciler) keep(routes []Route) {
	r.leftover = make(map[routeKey][]Route, len(routes))
	for _, route := range routes {
		r.leftover[route.key()] = append(r.leftover[route.key()], route)
	}
}

// present clears absent of all that the comparison found in the kernel: what it did not find is about to be added.
func (r *reconciler) present(p plan) {
	missing := make(map[any]string, len(p.addNeighbors)+len(p.addRoutes))
	for _, n := range p.addNeighbors {
		missing[n.key()] = r.absent[n.key()]
	}
	for _, route := range p.addRoutes {
		missing[route.key()] = r.absent[route.key()]
	}
	r.absent = missing
}

func (r *reconciler) report(cause string, p plan) {
	restored := 0
	for _, n := range p.addNeighbors {
		if _, absent := r.absent[n.key()]; !absent {
			restored++
		}
	}
	for _, route := range p.addRoutes {
		if _, absent := r.absent[route.key()]; !absent {
			restored++
		}
	}
	removed := len(p.deleteRoutes) + len(p.deleteNeighbors)
	r.stats.Restored += uint64(restored)
	r.stats.Removed += uint64(removed)
	if restored+removed > 0 {
		r.log.Info("brought the kernel's tables in step", "cause", cause, "added", restored, "removed", removed)
	}
}

// step is one message of a plan and what it stands for.
type step struct {
	operation string // "add" or "delete"
	what      fmt.Stringer
	key       any // of the wanted entry that it adds, nil for a deletion
}

// execute carries out a plan. Messages that the kernel refuses are counted, logged and, if wanted, kept in absent.
func (r *reconciler) execute(p plan) error {
	if p.empty() {
		return nil
	}
	up := r.links.up()
	var messages []netlink.Message
	var steps []step
	add := func(device string, key any, what fmt.Stringer, message func(index int) netlink.Message) {
		index := up[device]
		if index == 0 {
			r.absent[key] = waitsForDevice
			return
		}
		messages = append(messages, message(index))
		steps = append(steps, step{"add", what, key})
	}
	remove := func(device string, what fmt.Stringer, message func(index int) netlink.Message) {
		if index := up[device]; index != 0 {
			messages = append(messages, message(index))
			steps = append(steps, step{"delete", what, nil})
		}
	}
	for _, n := range p.addNeighbors {
		add(n.Device, n.key(), n, func(i int) netlink.Message { return addNeighbor(n, i) })
	}
	for _, route := range p.addRoutes {
		add(route.Device, route.key(), route, func(i int) netlink.Message { return addRoute(route, i) })
	}
	for _, route := range p.deleteRoutes {
		remove(route.Device, route, func(i int) netlink.Message { return deleteRoute(route, i) })
	}
	for _, n := range p.deleteNeighbors {
		remove(n.Device, n, func(i int) netlink.Message { return deleteNeighbor(n.key(), i) })
	}
	return r.send(messages, steps)
}

func (r *reconciler) send(messages []netlink.Message, steps []step) error {
	refused := make(map[int]error)
	err := r.requests.change(messages, func(i int, err error) { refused[i] = err })
	if err != nil {
		return err
	}
	for i, s := range steps {
		switch err := refused[i]; {
		case s.key == nil:
			r.deleted(s, err)
		case err == nil || errors.Is(err, unix.EEXIST):
			delete(r.absent, s.key)
		case deviceGone(err):
			r.absent[s.key] = waitsForDevice
		default:
			r.refused(s, err)
		}
	}
	return nil
}

func (r *reconciler) deleted(s step, err error) {
	if err == nil || deviceGone(err) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return
	}
	r.stats.Failures[failure(s, err)]++
	r.log.Warn("the kernel refused a change", "error", fmt.Errorf("%s %s: %w", s.operation, s.what, err))
}

// refused notes a wanted entry that the kernel does not take, and logs it unless it said the same the last time.
func (r *reconciler) refused(s step, err error) {
	reason := failure(s, err)
	r.stats.Failures[reason]++
	if r.absent[s.key] != reason {
		r.log.Warn("the kernel refused a change, trying again later", "error", fmt.Errorf("%s %s: %w", s.operation, s.what, err))
	}
	r.absent[s.key] = reason
}

// failure names an operation and the kernel's reason, without the entry: there are few of them.
func failure(s step, err error) string {
	kind := "neighbour"
	if _, ok := s.what.(Route); ok {
		kind = "route"
	}
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return s.operation + " " + kind
	}
	return s.operation + " " + kind + ": " + errno.Error()
}

func deviceGone(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENXIO)
}

func (r *reconciler) count() {
	s := &r.stats
	s.WantedNeighbors, s.WantedRoutes, s.Waiting, s.Failing = len(r.neighbors), len(r.routes), 0, 0
	for _, reason := range r.absent {
		if reason == waitsForDevice {
			s.Waiting++
		} else {
			s.Failing++
		}
	}
}
