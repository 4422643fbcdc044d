package nhrpd

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"cygnet/nhrpd/api"
)

// problemKey identifies a problem. A second report with the same key replaces the first.
type problemKey struct {
	code    api.ProblemCode
	iface   string
	subject string
}

// problems holds the problems that no other field of the status shows. Any part of the daemon may
// report and resolve problems, from any goroutine.
type problems struct {
	mu    sync.Mutex
	known map[problemKey]api.Problem
	now   func() time.Time
}

// newProblems returns a list without problems.
func newProblems() *problems {
	return &problems{known: make(map[problemKey]api.Problem), now: time.Now}
}

// mostProblems bounds how many problems are kept. Some problems have a peer as their subject, and
// without the bound others could fill the memory with made-up peers.
const mostProblems = 1024

// report adds a problem. It replaces an earlier problem with the same code, interface and subject,
// and keeps that problem's Since. It returns true if there was no such problem; the caller then
// logs the problem. A new problem beyond mostProblems is dropped.
func (p *problems) report(problem api.Problem) (fresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := problemKey{problem.Code, problem.Interface, problem.Subject}
	before, known := p.known[key]
	switch {
	case known:
		problem.Since = before.Since
	case len(p.known) >= mostProblems:
		return false
	case problem.Since.IsZero():
		problem.Since = p.now()
	}
	p.known[key] = problem
	return !known
}

// resolve removes a problem. It returns true if the problem had been reported.
func (p *problems) resolve(code api.ProblemCode, iface, subject string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := problemKey{code, iface, subject}
	_, known := p.known[key]
	delete(p.known, key)
	return known
}

// resolveAll removes all problems of an interface; with a code, only those with that code.
func (p *problems) resolveAll(code api.ProblemCode, iface string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range p.known {
		if key.iface == iface && (code == "" || key.code == code) {
			delete(p.known, key)
		}
	}
}

// list returns the problems, the oldest first.
func (p *problems) list() []api.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]api.Problem, 0, len(p.known))
	for _, problem := range p.known {
		all = append(all, problem)
	}
	slices.SortFunc(all, func(a, b api.Problem) int {
		return cmp.Or(
			a.Since.Compare(b.Since),
			cmp.Compare(a.Code, b.Code),
			cmp.Compare(a.Interface, b.Interface),
			cmp.Compare(a.Subject, b.Subject))
	})
	return all
}
