package vici

import (
	"context"
	"net/netip"
	"slices"

	"cygnet/vici/profile"
	"cygnet/vici/salist"
	"cygnet/vici/session"
)

// charon gives out marks from 1 on. After a restart of charon the first router to come gets a mark
// that another router had. That router may still send through ESP states that a killed charon has
// left in the kernel, and this end may still direct packets for it to that mark. So no router gets
// a mark from a charon before two things are done: the states of the earlier charon are gone
// (Options.Sweep), and the consumer directs nothing to their marks any more (MarksAsked,
// AllowMarks).

// marksState is how far that is done on a link.
type marksState uint8

const (
	marksUnasked marksState = iota
	marksSwept              // no state of an earlier charon has a mark
	marksAsked              // the consumer was asked
	marksAllowed
)

// marks decides when charon may give out marks.
type marks struct {
	*table
	state   marksState // of this link
	asked   uint64     // the serial number of the last MarksAsked
	allowed func()     // goes on with what had to wait until marks may be given out
}

// may reports whether charon may be told to give out marks. If not, it starts what has to be done
// before; allow then goes on.
func (m *marks) may() bool {
	switch m.state {
	case marksAllowed:
		return true
	case marksUnasked:
		m.sweepLate()
	case marksSwept:
		m.ask()
	}
	return false
}

// ask asks the consumer whether marks may be given out.
func (m *marks) ask() {
	m.state = marksAsked
	m.asked++
	m.emit(MarksAsked{m.asked})
}

// allow takes the consumer's answer and goes on with what had to wait. An answer to an earlier
// question is ignored.
func (m *marks) allow(serial uint64) {
	if m.state != marksAsked || serial != m.asked {
		return
	}
	m.state = marksAllowed
	m.allowed()
}

// sweepAgain makes a sweep necessary before more marks are given out, if a profile has new
// addresses from which packets get marks.
func (m *marks) sweepAgain(p profile.Profile, known *appliedProfile) {
	if p.Marks && (known == nil || !known.Marks || !slices.Equal(known.LocalAddrs, p.LocalAddrs)) {
		m.state = marksUnasked
	}
}

// addresses returns the local addresses from which packets can be given marks.
func (m *marks) addresses() []netip.Addr {
	var locals []netip.Addr
	for _, iface := range m.interfaces() {
		if p := m.profiles[iface]; p.Marks {
			locals = append(locals, p.LocalAddrs...)
		}
	}
	return locals
}

// sweepStates deletes the states with marks that an earlier charon left in the kernel. It runs in a
// job.
func (m *marks) sweepStates(
	ctx context.Context, s *session.Session, locals []netip.Addr,
) error {
	if m.sweep == nil || len(locals) == 0 {
		return nil
	}
	return m.sweep(locals, func() (map[uint32]bool, error) {
		return salist.SPIs(ctx, s, m.times.list)
	})
}

// sweepLate sweeps on a link that was there before any profile had marks, and goes on with ask.
func (m *marks) sweepLate() {
	m.state = marksAsked // the serial number is never sent, so that no answer has it
	m.asked++
	serial, locals := m.asked, m.addresses()
	m.do(func(ctx context.Context, s *session.Session) error {
		return m.sweepStates(ctx, s, locals)
	}, func(err error) {
		switch {
		case err != nil:
			m.lose(err)
		case m.state == marksAsked && m.asked == serial:
			m.ask()
		}
	})
}
