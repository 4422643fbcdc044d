package snmp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"cygnet/nhrpd/api"
)

// How long the answers rest on one status. A walk through a hub of thousands asks many times a
// second, and must not keep the daemon busy with that.
const (
	Fresh     = 5 * time.Second // at least
	share     = 20              // and this many times what getting the status took
	awayFor   = time.Second     // without a daemon, until it is asked again
	patience  = 4 * time.Second // for the daemon's answer: snmpd does nothing else meanwhile
	mostInput = 4096            // bytes of a line; snmpd's own are shorter
)

// Server answers what snmpd asks of a program for pass_persist.
type Server struct {
	Status func(context.Context) (*api.Status, error) // asks the daemon
	// Log must not write to the standard error: snmpd reads that as it reads the answers.
	Log *slog.Logger

	tree  *Tree
	until time.Time // the tree is used until then
	fault string    // why there is no status; empty: there is one
}

// Serve answers snmpd's questions until there are no more or the context ends. While the daemon
// gives no status, there are no objects.
func (s *Server) Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	lines, failed := read(ctx, in)
	next := func() (string, error) {
		select {
		case <-ctx.Done():
			return "", io.EOF
		case line, ok := <-lines:
			if !ok {
				return "", <-failed
			}
			return line, nil
		}
	}
	for {
		answer, err := s.answer(ctx, next)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what snmpd asks: %w", err)
		}
		if _, err := io.WriteString(out, answer); err != nil {
			return fmt.Errorf("answer snmpd: %w", err)
		}
	}
}

// read reads lines in the background, since snmpd may send none for hours and nothing interrupts
// reading. Once lines is closed, failed has the reason.
func read(ctx context.Context, in io.Reader) (lines <-chan string, failed <-chan error) {
	found, end := make(chan string), make(chan error, 1)
	go func() {
		defer close(found)
		input := bufio.NewScanner(in)
		input.Buffer(nil, mostInput)
		for input.Scan() {
			select {
			case found <- input.Text():
			case <-ctx.Done():
				end <- io.EOF
				return
			}
		}
		if err := input.Err(); err != nil {
			end <- err
			return
		}
		end <- io.EOF
	}()
	return found, end
}

// Answers other than objects.
const (
	none        = "NONE\n"
	notWritable = "not-writable\n"
)

// answer reads one question and returns the answer.
func (s *Server) answer(ctx context.Context, next func() (string, error)) (string, error) {
	question, err := next()
	if err != nil {
		return "", err
	}
	switch question = strings.ToLower(strings.TrimSpace(question)); question {
	case "": // snmpd takes its leave
		return "", nil
	case "ping":
		return "PONG\n", nil
	case "get", "getnext":
		word, err := next()
		if err != nil {
			return "", err
		}
		oid, err := ParseOID(strings.TrimSpace(word))
		if err != nil {
			return none, nil
		}
		return s.object(ctx, oid, question == "getnext"), nil
	case "set":
		for range 2 { // the object, and its new value
			if _, err := next(); err != nil {
				return "", err
			}
		}
		return notWritable, nil
	}
	return "", fmt.Errorf("the question is %.40q", question)
}

// object returns an object, or the next one, in three lines: its identifier, its kind and value.
func (s *Server) object(ctx context.Context, oid OID, next bool) string {
	tree, found, v := s.current(ctx), false, Value{}
	if next {
		oid, v, found = tree.Next(oid)
	} else {
		v, found = tree.Get(oid)
	}
	if !found {
		return none
	}
	return oid.String() + "\n" + string(v.Kind) + "\n" + v.text() + "\n"
}

// text returns the value as snmpd reads it: bytes as hexadecimal numbers.
func (v Value) text() string {
	if v.Kind != Octets {
		return strconv.FormatUint(uint64(v.Number), 10)
	}
	return fmt.Sprintf("% x", v.Octets)
}

// current returns the objects as of a few seconds ago at most.
func (s *Server) current(ctx context.Context) *Tree {
	begun := time.Now()
	if s.tree != nil && begun.Before(s.until) {
		return s.tree
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	status, err := s.Status(ctx)
	s.report(err)
	if err != nil {
		s.tree, s.until = &Tree{}, time.Now().Add(awayFor)
		return s.tree
	}
	s.tree = NHRP(status)
	now := time.Now()
	s.until = now.Add(max(Fresh, share*now.Sub(begun)))
	return s.tree
}

// report logs that the daemon gives no status, and why, and that it does again.
func (s *Server) report(err error) {
	fault := ""
	if err != nil {
		fault = err.Error()
	}
	if fault == s.fault {
		return
	}
	s.fault = fault
	if err != nil {
		s.Log.Warn("the daemon gives no status: SNMP shows no objects of NHRP", "error", err)
	} else {
		s.Log.Info("the daemon gives its status")
	}
}
