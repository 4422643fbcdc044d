// Package replay serves a recording (package recording) on a unix socket, as the daemon serves its
// API: by the daemon's own server. A test steps through the recording; nothing happens by itself.
package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"

	"cygnet/nhrpd/api"
	"cygnet/test/web/recording"
)

// Server serves one recording. Its methods may be called from several goroutines.
type Server struct {
	path string
	made *recording.Recording

	mu     sync.Mutex // guards what follows
	at     int        // the step that is shown
	starts int        // of the daemon
	more   chan struct{}
	orders []string
	asked  []recording.Pair

	stop    context.CancelFunc // ends the serving; nil: the daemon is gone
	stopped chan error
}

// Start serves a recording at path, and shows its first step.
func Start(path string, r *recording.Recording) (*Server, error) {
	if len(r.Steps) == 0 {
		return nil, fmt.Errorf("the recording of %s has no steps", r.Router)
	}
	s := &Server{path: path, made: r, more: make(chan struct{})}
	return s, s.listen()
}

// listen begins to serve.
func (s *Server) listen() error {
	l, err := net.Listen("unix", s.path)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop, s.stopped = cancel, make(chan error, 1)
	go func() { s.stopped <- api.Serve(ctx, l, s, 0, slog.New(slog.DiscardHandler)) }()
	return nil
}

// Stop ends the daemon: its socket goes, and all connections end.
func (s *Server) Stop() error {
	if s.stop == nil {
		return nil
	}
	s.stop()
	s.stop = nil
	err := <-s.stopped
	if gone := os.Remove(s.path); gone != nil && !errors.Is(gone, os.ErrNotExist) {
		return gone
	}
	return err
}

// Again starts the daemon again after Stop. Its events are in a new journal.
func (s *Server) Again() error {
	s.mu.Lock()
	s.starts++
	s.mu.Unlock()
	return s.listen()
}

// Next shows the next step. It returns false if there is none.
func (s *Server) Next() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == len(s.made.Steps)-1 {
		return false
	}
	s.show(s.at + 1)
	return true
}

// To shows the steps up to the one with a note, which must not lie behind.
func (s *Server) To(note string) error {
	n, err := s.made.Find(note)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n < s.at {
		return fmt.Errorf("step %q is %d, shown is %d already", note, n, s.at)
	}
	s.show(n)
	return nil
}

// show shows a step, and wakes those who follow the events.
func (s *Server) show(n int) {
	s.at = n
	close(s.more)
	s.more = make(chan struct{})
}

// Step returns the step that is shown.
func (s *Server) Step() *recording.Step {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &s.made.Steps[s.at]
}

// Last returns the number of the last event up to the step that is shown.
func (s *Server) Last() uint64 {
	_, _, j := s.happened()
	return j.Last
}

// Orders lists what was asked of the daemon that is not only to show something.
func (s *Server) Orders() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.orders
}

// Asked lists the pairs that were to be explained.
func (s *Server) Asked() []recording.Pair {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}
