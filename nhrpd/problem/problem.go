// Package problem keeps the problems of the daemon that no other field of the status shows, such as
// a reload that failed. Whoever finds a problem reports it here, and resolves it when it is over.
package problem

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"cygnet/nhrpd/api"
)

// Key identifies a problem. A second report with the same key replaces the first.
type Key struct {
	Code      api.ProblemCode
	Interface string
	Subject   string
}

// KeyOf returns the key of a problem.
func KeyOf(p api.Problem) Key { return Key{p.Code, p.Interface, p.Subject} }

// List holds the problems that were reported and are not resolved. It is safe for concurrent use.
type List struct {
	mu    sync.Mutex
	known map[Key]api.Problem
	now   func() time.Time
}

// NewList returns a list without problems.
func NewList() *List {
	return &List{known: make(map[Key]api.Problem), now: time.Now}
}

// mostProblems bounds how many problems are kept. Some problems have a peer as their subject, and
// without the bound others could fill the memory with made-up peers.
const mostProblems = 1024

// Report adds a problem. It replaces an earlier problem with the same code, interface and subject,
// and keeps that problem's Since. It returns true if there was no such problem; the caller then
// logs the problem. A new problem beyond mostProblems is dropped.
func (l *List) Report(problem api.Problem) (fresh bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := KeyOf(problem)
	before, known := l.known[key]
	switch {
	case known:
		problem.Since = before.Since
	case len(l.known) >= mostProblems:
		return false
	case problem.Since.IsZero():
		problem.Since = l.now()
	}
	l.known[key] = problem
	return !known
}

// Resolve removes a problem. It returns true if the problem had been reported.
func (l *List) Resolve(key Key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known := l.known[key]
	delete(l.known, key)
	return known
}

// ResolveAll removes all problems of an interface; with a code, only those with that code.
func (l *List) ResolveAll(code api.ProblemCode, iface string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key := range l.known {
		if key.Interface == iface && (code == "" || key.Code == code) {
			delete(l.known, key)
		}
	}
}

// All returns the problems, the oldest first.
func (l *List) All() []api.Problem {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]api.Problem, 0, len(l.known))
	for _, problem := range l.known {
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
