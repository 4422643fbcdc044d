package overlay

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/peerid"
)

// secured returns a notice about the SA of a router.
func secured(identity, nbma string) output.Notice {
	return output.Notice{
		Kind: output.NoticePeerSecured, Identity: identity, Peer: peerid.At(addr(nbma))}
}

// logged returns how many notices go into the log.
func logged(ifc *Interface) (count int) {
	for _, n := range ifc.Out.Notices {
		if !n.Quiet {
			count++
		}
	}
	return count
}

// leftOut returns what the log says about notices that it did not get.
func leftOut(ifc *Interface) (list []string) {
	for _, n := range ifc.Out.Notices {
		if n.Kind == output.NoticeLeftOut {
			number, _, _ := strings.Cut(n.Reason, " events")
			list = append(list, n.Identity+" "+number)
		}
	}
	return list
}

// The log takes a burst of notices about a peer. The others are counted, and the log gets their
// number after QuietTime.
func TestNoticesOfOnePeerAreLimited(t *testing.T) {
	ifc := hub()
	for range EventBurst + 10 {
		ifc.Notice(secured("spoke1", "192.0.2.11"))
	}
	ifc.Notice(secured("spoke2", "192.0.2.12"))
	if got := logged(ifc); got != EventBurst+1 {
		t.Errorf("want %d notices of one peer and 1 of another in the log, have %d in all",
			EventBurst, got)
	}
	ifc.later(QuietTime - 1)
	if got := leftOut(ifc); len(got) != 0 {
		t.Errorf("before QuietTime has passed, the log says that %v were left out", got)
	}
	ifc.later(1)
	if got := leftOut(ifc); !slices.Equal(got, []string{"spoke1 10"}) {
		t.Errorf("want 10 notices of spoke1 reported as left out, have %v", got)
	}
	for range EventBurst {
		ifc.Notice(secured("spoke1", "192.0.2.11"))
	}
	ifc.later(QuietTime)
	refilled := int(QuietTime.Seconds()) * eventRate
	want := []string{"spoke1 10", fmt.Sprintf("spoke1 %d", EventBurst-refilled)}
	if got := leftOut(ifc); !slices.Equal(got, want) {
		t.Errorf("want each notice reported once, %q; have %q", want, got)
	}
}

// A notice that names no identity counts for the identity that the SA at its NBMA address proves.
func TestNoticeCountsForTheProvenIdentity(t *testing.T) {
	ifc := hub()
	for range EventBurst {
		ifc.Notice(secured("", "192.0.2.11"))
	}
	ifc.Notice(secured("spoke1", "192.0.2.77"))
	if got := logged(ifc); got != EventBurst {
		t.Errorf("want %d notices in the log, have %d", EventBurst, got)
	}
}

// Notices about no peer are always logged, and so are those of an interface that leaves.
func TestNoticesThatAreNeverLeftOut(t *testing.T) {
	ifc := hub()
	for range 2 * EventBurst {
		ifc.Notice(output.Notice{Kind: output.NoticeNAT})
	}
	if got := logged(ifc); got != 2*EventBurst {
		t.Errorf("want %d notices about no peer in the log, have %d", 2*EventBurst, got)
	}
	ifc.Out.Reset()
	ifc.Left = true
	for range 2 * EventBurst {
		ifc.Notice(secured("spoke1", "192.0.2.11"))
	}
	if got := logged(ifc); got != 2*EventBurst {
		t.Errorf("want %d notices of an interface that leaves in the log, have %d",
			2*EventBurst, got)
	}
}

// The report begins with the peers that had the most notices left out. It names a bounded number of
// peers, counts a bounded number of peers one by one, and leaves out no notice.
func TestReportQuiet(t *testing.T) {
	const peers = 30
	ifc := hub()
	left := 0
	for i := range peers {
		for range EventBurst + 1 + i {
			ifc.Notice(secured(fmt.Sprintf("spoke%02d", i), "192.0.2.11"))
		}
		left += 1 + i
	}
	ifc.ReportQuiet()
	got := leftOut(ifc)
	if len(got) != maxNamed+1 || got[0] != "spoke19 20" || got[1] != "spoke18 19" {
		t.Errorf("want %d peers, beginning with spoke19 and spoke18, and the others; have %q",
			maxNamed, got)
	}
	reported := 0
	for _, s := range got {
		var n int
		if _, err := fmt.Sscan(s[strings.LastIndex(s, " ")+1:], &n); err != nil {
			t.Fatal(err)
		}
		reported += n
	}
	if reported != left {
		t.Errorf("want %d notices reported as left out, have %d", left, reported)
	}
}
