package multicast

import (
	"errors"
	"fmt"
	"strings"

	"cygnet/kernel/schedule"
	"cygnet/kernel/tc"
)

// causeAttach is the cause of the first comparison.
const causeAttach = "attach"

// finding is what a comparison corrected, and what it could not correct.
type finding struct {
	failed   error // why the programs do not work as they should
	user     error // why user space does not
	report   tc.Report
	links    int // filters behind the first one that the tunnel has
	restored int // filters and entries that were put back
}

// active reports whether the tunnel has the first filter of the chain.
func (f *finding) active() bool { return len(f.report.Held) > f.links }

// reconcile compares once, and logs and reports the result.
func (r *Replicator) reconcile(cause string) error {
	r.keeping.Lock()
	defer r.keeping.Unlock()
	if r.closed.Err() != nil {
		return nil
	}
	before := r.State()
	if cause == schedule.CauseAsked && r.userSpaceSuffices() {
		r.tellChanges(before, cause)
		return nil
	}
	var found finding
	if r.cfg.Mode != ModeUserSpace {
		found.failed = r.compare(cause, &found)
	}
	r.last = nil
	if found.failed == nil && found.active() {
		r.last = &found
	}
	r.placed = r.placed || found.active()
	found.user = r.chooseMode()
	r.note(&found)
	if found.restored > 0 {
		r.log.Warn("brought the programs that replicate and their tables in step", "cause", cause,
			"put back", filterNames(found.report.Placed), "restored", found.restored)
	}
	r.tellChanges(before, cause)
	return errors.Join(found.failed, found.user)
}

// note updates the state by what a comparison found.
func (r *Replicator) note(found *finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := State{Filters: len(found.report.Held)}
	fault, reason := errors.Join(found.failed, found.user), error(nil)
	switch {
	case found.active():
		now.Mode, now.Peers = ModeEBPF, len(r.loaded.lists.written)
		now.Ahead = strings.Join(found.report.Ahead, ", ")
	case r.user != nil:
		now.Mode = ModeUserSpace
		fault, reason = found.user, found.failed
	}
	now.Fault, now.Reason = oneLine(fault), oneLine(reason)
	r.state = now
	r.notePeers()
	r.restored += uint64(found.restored)
}

// tellChanges logs what became wrong and what is right again, each problem once, and reports a
// change of the state.
func (r *Replicator) tellChanges(before State, cause string) {
	now := r.State()
	if now.Reason != before.Reason && now.Reason != "" {
		r.log.Warn("multicast is replicated in user space, trying again with eBPF",
			"reason", now.Reason)
	}
	if now.Mode == ModeEBPF && before.Mode == ModeUserSpace {
		r.log.Info("multicast is replicated by eBPF")
	}
	if now.Fault != before.Fault && now.Fault != "" {
		r.log.Warn("what is sent to groups does not reach all peers, trying again",
			"error", now.Fault)
	}
	if now.Ahead != before.Ahead && now.Ahead != "" {
		r.log.Warn("another program may take what is sent to groups", "reason", now.Ahead)
	}
	if now != before && cause != causeAttach && r.cfg.Changed != nil {
		r.cfg.Changed(now)
	}
}

// oneLine returns the text of an error without line breaks, or "" for nil.
func oneLine(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// compare compares the kernel with what is wanted, and corrects the differences. It fills the
// tables before it attaches the programs.
func (r *Replicator) compare(cause string, found *finding) error {
	if cause == schedule.CauseAsked && r.last != nil {
		if entries, changes := r.newest(); filtersFor(len(entries)) <= r.last.links {
			found.report, found.links = r.last.report, r.last.links
			return r.write(entries, changes)
		}
	}
	companion, way := r.cfg.Companion()
	if r.loaded == nil {
		if way != nil {
			return way
		}
		l, err := load(&r.cfg, companion.Sent)
		if err != nil {
			return tc.Explain(err, r.cfg.Device)
		}
		r.mu.Lock()
		r.loaded = l
		r.mu.Unlock()
		r.pending = true
		cause = causeAttach
	}
	if way == nil {
		way = r.compareWay(wayTo(companion), found)
	}
	var tables error
	if cause != tc.CauseFilters {
		tables = r.compareTables(cause, found)
	}
	if err := errors.Join(way, tables); err != nil && r.slot == 0 {
		return err // a chain of an earlier run does better than one without its tables
	}
	return errors.Join(way, tables, r.compareChain(found))
}

// compareWay tells the programs how copies leave.
func (r *Replicator) compareWay(wanted bpfWay, found *finding) error {
	var have bpfWay
	if err := r.loaded.objects.Ways.Lookup(uint32(0), &have); err != nil {
		return fmt.Errorf("read the way to the peers of %s: %w", r.cfg.Device, err)
	}
	r.mu.Lock()
	before := r.way
	r.way = wanted
	r.mu.Unlock()
	if have == wanted {
		return nil
	}
	if have != before || before != (bpfWay{}) {
		found.restored++
	}
	if err := r.loaded.objects.Ways.Put(uint32(0), wanted); err != nil {
		return fmt.Errorf("set the way to the peers of %s: %w", r.cfg.Device, err)
	}
	return nil
}

// compareTables compares the rules for groups and the list in use with what was written there.
func (r *Replicator) compareTables(cause string, found *finding) error {
	wanted, err := r.cfg.Groups.rules()
	if err != nil {
		return err
	}
	changed, err := compareGroups(r.loaded.objects.Groups, &wanted)
	if changed && cause != causeAttach {
		found.restored++
	}
	if err != nil || r.pending {
		return err
	}
	intact, err := r.loaded.lists.intact(&r.loaded.objects)
	if err == nil && !intact {
		r.pending = true
		found.restored++
	}
	return err
}

// compareChain gives the programs the wanted list, and the device the chain that the list needs.
// The first time the list comes before the chain; later the chain grows before the list does.
func (r *Replicator) compareChain(found *finding) error {
	entries, changes := r.newest()
	if r.slot == 0 {
		at, err := freeSlot(r.cfg.Device, r.cfg.Index)
		if err != nil {
			return err
		}
		if err := removeChain(at, r.cfg.Device, r.cfg.Index, r.loaded.barrier); err != nil {
			return err
		}
		if err := r.write(entries, changes); err != nil {
			return err
		}
		r.slot = at
	}
	needed := max(r.links, filtersFor(len(entries)), filtersFor(len(r.loaded.lists.written)))
	var err error
	found.report, err = ensureChain(r.slot, &r.cfg, &r.loaded.objects, needed)
	r.countFilters(found)
	if filtersFor(len(entries)) <= found.links {
		err = errors.Join(err, r.write(entries, changes))
	}
	if !r.sole { // a chain of an earlier run is before this one, or behind it
		found.report.Ahead = nil
	}
	if err == nil && !r.sole {
		err = removeChain(r.slot.other(), r.cfg.Device, r.cfg.Index, r.loaded.barrier)
		r.sole = err == nil
	}
	return err
}

// newest returns the newest list, and its number.
func (r *Replicator) newest() ([]bpfPeer, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.pending && r.peers.changes == r.written {
		return r.loaded.lists.written, r.written
	}
	r.pending = true
	return r.peers.entries(), r.peers.changes
}

// write has the programs use a list, unless they have it.
func (r *Replicator) write(entries []bpfPeer, changes uint64) error {
	if !r.pending {
		return nil
	}
	if err := r.loaded.lists.write(&r.loaded.objects, r.loaded.barrier, entries); err != nil {
		return fmt.Errorf("change who gets what is sent to groups on %s: %w", r.cfg.Device, err)
	}
	r.pending, r.written = false, changes
	return nil
}

// countFilters counts the filters that the chain has, and those that were put back.
func (r *Replicator) countFilters(found *finding) {
	for _, f := range found.report.Held {
		if f.Priority != uint16(r.slot) {
			found.links++
		}
	}
	for _, f := range found.report.Placed {
		if r.links > 0 && int(f.Priority-uint16(r.slot)) <= r.links {
			found.restored++
		}
	}
	r.links = max(r.links, found.links)
}
