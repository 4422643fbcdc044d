package problem

import (
	"fmt"
	"testing"
	"time"

	"cygnet/nhrpd/api"
)

// A problem that is reported again keeps its beginning, and is new only the first time. A resolved
// problem is gone.
func TestReportAndResolve(t *testing.T) {
	p := NewList()
	clock := time.Unix(1000, 0)
	p.now = func() time.Time { return clock }
	first := api.Problem{Code: "a", Interface: "gre1", Subject: "x", Text: "one"}
	if !p.Report(first) {
		t.Error("the first report counts as known")
	}
	clock = clock.Add(time.Minute)
	first.Text = "two"
	if p.Report(first) {
		t.Error("the second report counts as new")
	}
	p.Report(api.Problem{Code: "a", Interface: "gre2", Text: "other"})
	all := p.All()
	if len(all) != 2 || all[0].Text != "two" || all[0].Since != time.Unix(1000, 0) ||
		all[1].Since != clock {
		t.Errorf("got %+v", all)
	}
	if !p.Resolve(KeyOf(first)) || p.Resolve(KeyOf(first)) {
		t.Error("Resolve is wrong about whether the problem was reported")
	}
	p.ResolveAll("", "gre2")
	if all := p.All(); len(all) != 0 {
		t.Errorf("left: %+v", all)
	}
}

// Subjects that others make up cannot fill the memory.
func TestListIsBounded(t *testing.T) {
	p := NewList()
	for n := range 2 * mostProblems {
		p.Report(api.Problem{Code: "a", Subject: fmt.Sprint(n)})
	}
	if n := len(p.All()); n != mostProblems {
		t.Errorf("%d problems are kept, want %d", n, mostProblems)
	}
}
