// Package recording keeps what the API of a router answered while a network changed, so that a test
// can show it again without the network.
//
// A [Recorder] makes a recording from a daemon: the scenario TestRecordedMesh has two of them. A
// recording is a text file, one JSON object a line, that a reader can follow (file.go). All times
// in it are moved, so that each recording begins at [Epoch].
package recording

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/api"
)

// Epoch is when each recording begins.
var Epoch = time.Date(2026, 1, 5, 3, 0, 0, 0, time.UTC)

// The names that take the place of what differs from run to run.
const (
	version = "0.0.0"
	journal = "0123456789abcdef"
)

// Recording is what one router's API answered over time.
type Recording struct {
	Router string
	Steps  []Step
}

// Step is what the API answered at one moment, when something had changed.
type Step struct {
	// Note says what had happened, in a few words. Between two steps with notes there are steps
	// without: what changed on the way there.
	Note   string
	Status *api.Status
	SAs    []api.SA
	Pairs  []api.Pair
	Events []api.Event // those since the step before

	// Explained has the accounts that were asked for at this moment, and the last ones before it.
	Explained map[Pair]*api.Explanation
}

// Pair is what an account was asked for. Source is the zero address for the router itself.
type Pair struct{ Destination, Source netip.Addr }

// MarshalText implements [encoding.TextMarshaler].
func (p Pair) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *Pair) UnmarshalText(text []byte) (err error) {
	*p, err = parsePair(string(text))
	return err
}

// String returns the pair as the file has it.
func (p Pair) String() string {
	if !p.Source.IsValid() {
		return p.Destination.String()
	}
	return p.Destination.String() + " from " + p.Source.String()
}

// parsePair reads what String returns.
func parsePair(text string) (p Pair, err error) {
	destination, source, from := strings.Cut(text, " from ")
	if p.Destination, err = netip.ParseAddr(destination); err != nil {
		return p, err
	}
	if from {
		p.Source, err = netip.ParseAddr(source)
	}
	return p, err
}

// Find returns the number of the step with a note.
func (r *Recording) Find(note string) (int, error) {
	i := slices.IndexFunc(r.Steps, func(s Step) bool { return s.Note == note })
	if i < 0 {
		return 0, fmt.Errorf("the recording of %s has no step %q, only %q", r.Router, note,
			r.Notes())
	}
	return i, nil
}

// Notes lists the notes, in order.
func (r *Recording) Notes() []string {
	var notes []string
	for _, s := range r.Steps {
		if s.Note != "" {
			notes = append(notes, s.Note)
		}
	}
	return notes
}

// Replace replaces a text wherever a document has it, such as an identity by one that a test wants.
func (r *Recording) Replace(old, with string) error {
	for i := range r.Steps {
		s := &r.Steps[i]
		if err := errors.Join(replace(&s.Status, old, with), replace(&s.SAs, old, with),
			replace(&s.Pairs, old, with),
			replace(&s.Events, old, with), replace(&s.Explained, old, with)); err != nil {
			return err
		}
	}
	return nil
}

// Mesh says in a few lines what the router knows of the mesh at this moment: what must be the same
// whenever the same is recorded.
func (s *Step) Mesh() []string {
	var lines []string
	for i := range s.Status.Interfaces {
		lines = append(lines, meshOf(&s.Status.Interfaces[i])...)
	}
	for _, p := range s.Status.Problems {
		lines = append(lines, fmt.Sprintf("problem %s: %s", p.Severity, p.Code))
	}
	for _, p := range s.Pairs {
		lines = append(lines, fmt.Sprintf("pair %s to %s", p.Source, p.Destination))
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// meshOf is Mesh for one interface.
func meshOf(i *api.Interface) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, n := range i.NHS {
		add("nhs %s at %s: %s", n.Protocol, n.NBMA, n.State)
	}
	for _, b := range i.Bindings {
		add("binding %s at %s", b.Protocol, b.NBMA)
	}
	for _, p := range i.Peers {
		nat := ""
		if p.RemoteNAT {
			nat = ", behind NAT"
		}
		add("peer %s: %s%s", p.NBMA, p.State, nat)
		if p.Path != nil {
			add("path to %s: %s", p.NBMA, p.Path.State)
		}
	}
	for _, c := range i.Shortcuts {
		add("shortcut %s via %s: %s", c.Prefix, c.NextHop, c.State)
	}
	return lines
}
