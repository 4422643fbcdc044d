package main

import (
	"fmt"
	"time"
)

// story is a lab.T for a program: it prints what happens with the time since the start, and ends at
// the first failure.
type story struct {
	began    time.Time
	failed   bool
	cleanups []func()
	chapters int
}

// stop is the panic that ends the story after a failure.
type stop struct{}

func newStory() *story { return &story{began: time.Now()} }

// tell runs the story and reports whether every step succeeded.
func (s *story) tell(f func()) (good bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ours := r.(stop); !ours {
				panic(r)
			}
		}
		good = !s.failed
	}()
	f()
	return
}

func (s *story) cleanUp() {
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		s.cleanups[i]()
	}
}

func (s *story) chapter(title string) {
	s.chapters++
	fmt.Printf("\n%d. %s\n", s.chapters, title)
}

func (s *story) say(format string, args ...any) {
	fmt.Printf("   %6.2f s  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// The methods of lab.T.

func (s *story) Helper()          {}
func (s *story) Name() string     { return "demo" }
func (s *story) Failed() bool     { return s.failed }
func (s *story) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *story) Logf(format string, args ...any) { s.say(format, args...) }

func (s *story) Skipf(format string, args ...any) { s.Fatalf(format, args...) }

func (s *story) Errorf(format string, args ...any) {
	s.failed = true
	s.say("FAILED: "+format, args...)
}

func (s *story) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	panic(stop{})
}
