package nhrpd

import (
	"fmt"
	"testing"
	"time"

	"cygnet/nhrpd/api"
)

// A problem that is reported again keeps its beginning, and is new only the first time. A resolved
// problem is gone.
func TestProblems(t *testing.T) {
	p := newProblems()
	clock := time.Unix(1000, 0)
	p.now = func() time.Time { return clock }
	first := api.Problem{Code: "a", Interface: "gre1", Subject: "x", Text: "one"}
	if !p.report(first) {
		t.Error("the first report is no news")
	}
	clock = clock.Add(time.Minute)
	first.Text = "two"
	if p.report(first) {
		t.Error("the second report is news")
	}
	p.report(api.Problem{Code: "a", Interface: "gre2", Text: "other"})
	all := p.list()
	if len(all) != 2 || all[0].Text != "two" || all[0].Since != time.Unix(1000, 0) ||
		all[1].Since != clock {
		t.Errorf("got %+v", all)
	}
	if !p.resolve("a", "gre1", "x") || p.resolve("a", "gre1", "x") {
		t.Error("resolving tells wrongly whether there was one")
	}
	p.resolveAll("", "gre2")
	if all := p.list(); len(all) != 0 {
		t.Errorf("left: %+v", all)
	}
}

// Subjects that others make up cannot fill the memory.
func TestProblemsAreBounded(t *testing.T) {
	p := newProblems()
	for n := range 2 * mostProblems {
		p.report(api.Problem{Code: "a", Subject: fmt.Sprint(n)})
	}
	if n := len(p.list()); n != mostProblems {
		t.Errorf("%d problems are kept, want %d", n, mostProblems)
	}
}
