package proof

import "fmt"

// Running returns how many series of probes are under way. It is for tests.
func (t *Table) Running() int {
	n := 0
	for _, p := range t.paths {
		if p.series.running() {
			n++
		}
	}
	return n
}

// Check returns an error if the table contradicts itself: a probe that belongs to no series, a path
// that nothing refers to and that never ends, or too many of those. refs is the number of
// references that the caller knows of. Check is for tests, and slow.
func (t *Table) Check(refs int) error {
	probes, unused := 0, 0
	for id, p := range t.paths {
		probes += len(p.series.probes)
		refs -= p.refs
		switch {
		case p.refs == 0 && (!p.step.IsSet() || p.series.running()):
			return fmt.Errorf("the path to %s never ends", id)
		case p.refs == 0:
			unused++
		case p.series.running() != p.step.IsSet():
			return fmt.Errorf("the path to %s is probed %v, with a timer %v",
				id, p.series.running(), p.step.IsSet())
		}
	}
	switch {
	case refs != 0:
		return fmt.Errorf("%d references more than the paths have", refs)
	case probes != len(t.byID):
		return fmt.Errorf("%d probes are under way, %d are known by ID", probes, len(t.byID))
	case unused != t.unused || unused > t.Config.Limits.Shortcuts:
		return fmt.Errorf("%d paths are unused, counted %d", unused, t.unused)
	}
	return nil
}
