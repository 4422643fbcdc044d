package datapath

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"cygnet/kernel/tc"
)

// finding is what a comparison corrected, and what it could not correct.
type finding struct {
	load     error     // why the kernel does not take the programs
	filters  error     // why the device does not have the programs
	entries  error     // why a table does not have all wanted entries
	vrf      error     // why the programs may not know whether the tunnel is in a VRF
	marks    error     // why the companion device is not as wanted
	report   tc.Report // about the programs on the tunnel
	first    bool      // the kernel did not have the programs before this comparison
	restored int       // filters and entries that were put back
	removed  int       // unwanted entries that were removed
}

// err returns what is wrong with the programs and tables.
func (f *finding) err() error { return errors.Join(f.load, f.filters, f.entries, f.vrf) }

// reconcile compares once, and logs and reports the result.
func (s *ebpfPath) reconcile(cause string) error {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	if s.closed.Err() != nil {
		return nil
	}
	before := s.State()
	found := s.compare(cause)
	s.apply(found)
	if found.restored+found.removed > 0 {
		s.log.Warn("brought the eBPF programs and their tables in step", "cause", cause,
			"put back", filterNames(found.report.Placed), "restored", found.restored,
			"removed", found.removed)
	}
	s.logChanges(before, found)
	if now := s.State(); now != before && s.cfg.Changed != nil {
		s.cfg.Changed(now)
	}
	return errors.Join(found.err(), found.marks)
}

// compare compares the kernel with what is wanted, and corrects the differences. The first time it
// fills the tables before it attaches the programs, so that no packet is lost when they replace
// those of an earlier run. Later it looks at the programs first.
func (s *ebpfPath) compare(cause string) (found finding) {
	if s.objects == nil {
		found.first = true
		if found.load = s.load(); found.load != nil {
			return found
		}
	}
	s.compareVRF(&found)
	if found.first {
		s.compareEntries(&found)
		s.compareMarks(&found)
	}
	s.compareFilters(&found)
	again := s.notePlaced(&found)
	if found.first {
		return found
	}
	if again || cause != tc.CauseFilters {
		s.compareEntries(&found)
	}
	s.compareMarks(&found)
	return found
}

// compareFilters attaches the programs to the device, unless they are there.
func (s *ebpfPath) compareFilters(found *finding) {
	if found.filters = attachable(s.device, s.index); found.filters != nil {
		return
	}
	for _, f := range s.tunnelFilters() {
		report, err := tc.Ensure([]tc.Filter{f})
		found.report.Placed = append(found.report.Placed, report.Placed...)
		found.report.Held = append(found.report.Held, report.Held...)
		if f.At == tc.Ingress { // the program there admits data; at egress nothing is admitted
			found.report.Ahead = report.Ahead
		}
		if err != nil && (found.filters == nil || err.Error() != found.filters.Error()) {
			found.filters = errors.Join(found.filters, err)
		}
	}
}

// notePlaced notes which programs are on the device. It reports whether a table refused entries at
// the last try, so that the tables have to be compared again.
func (s *ebpfPath) notePlaced(found *finding) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range found.report.Placed {
		if f.At == tc.Ingress && s.ingress || f.At == tc.Egress && s.egress {
			found.restored++
		}
		if !found.first {
			s.reattached = time.Now()
		}
	}
	s.ingress, s.egress = false, false
	for _, f := range found.report.Held {
		s.ingress = s.ingress || f.At == tc.Ingress
		s.egress = s.egress || f.At == tc.Egress
	}
	return s.refused
}

// apply updates the state by what a comparison found.
func (s *ebpfPath) apply(found finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = found.entries != nil
	s.past.Restored += uint64(found.restored + found.removed)
	s.state = State{Admission: s.cfg.Admission && s.ingress}
	if found.marks != nil {
		s.state.Marks = found.marks.Error()
	}
	faults := errors.Join(found.entries, found.vrf)
	if s.ingress {
		s.state.Mode = ModeEBPF
		faults = errors.Join(found.filters, faults)
	} else {
		s.state.Reason = oneLine(tc.Explain(errors.Join(found.load, found.filters), s.device))
	}
	s.state.Fault = oneLine(faults)
	if s.state.Admission {
		s.state.Ahead = aheadText(found.report.Ahead)
	}
	s.fallBack()
}

// aheadText describes other programs' filters that run before the daemon's at the tunnel's ingress.
func aheadText(filters []string) string {
	if len(filters) == 0 {
		return ""
	}
	return fmt.Sprintf("%s: data that it lets pass is not checked; give it a priority above %d",
		strings.Join(filters, ", "), filterPriority)
}

// logChanges logs what became wrong and what is right again since the state before. It logs each
// problem once.
func (s *ebpfPath) logChanges(before State, found finding) {
	now := s.State()
	switch {
	case now.Mode != ModeEBPF && now.Reason != before.Reason:
		s.log.Warn("no eBPF on the tunnel: shortcuts need a firewall rule, "+
			"last-use times are coarser; trying again", "reason", now.Reason)
	case now.Mode == ModeEBPF && before.Reason != "":
		s.log.Info("the eBPF programs are on the tunnel")
	}
	if now.Fault != before.Fault && now.Fault != "" {
		s.log.Warn("the eBPF programs or their tables are not as they should be, trying again",
			"error", now.Fault)
	}
	if now.Ahead != before.Ahead && now.Ahead != "" {
		s.log.Warn("another program may let data pass that is not admitted", "reason", now.Ahead)
	}
	if now.Marks != before.Marks && now.Marks != "" && !found.first {
		s.log.Warn("peers behind one NAT address cannot be reached, trying again",
			"error", now.Marks)
	}
}

// oneLine returns the text of an error without line breaks, or "" for nil.
func oneLine(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// filterNames returns the names of filters, for the log.
func filterNames(filters []tc.Filter) []string {
	var names []string
	for i := range filters {
		names = append(names, filters[i].String())
	}
	return names
}
