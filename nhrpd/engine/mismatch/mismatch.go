package mismatch

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
)

// complaints are the mismatches that packets have shown. A complaint ends when a packet shows the
// opposite, or complaintLasts after the last packet that showed it.
type complaints map[complaintKey]*complaint

// complaintKey is the key of complaints: a router has at most one complaint of each kind.
type complaintKey struct {
	Kind report.MismatchKind
	NBMA netip.Addr
}

// complaint is one mismatch that packets have shown, between since and last.
type complaint struct {
	Protocol netip.Addr
	Identity string
	Reason   string
	Since    time.Time
	Last     time.Time
}

const (
	MaxComplaints  = 256             // on one interface
	ComplaintLasts = 3 * time.Minute // a router repeats what fails at least once a minute
)

// Table are the differences between this router's settings and those of other routers that
// show in received packets.
type Table struct {
	*overlay.Interface

	Complaints complaints // nil: none so far
}

// New returns no mismatches.
func New(ifc *overlay.Interface) Table { return Table{Interface: ifc} }

// Complain records a mismatch that a packet has shown.
func (mm *Table) Complain(
	kind report.MismatchKind, nbma, protocol netip.Addr, identity, reason string,
) {
	key := complaintKey{kind, nbma}
	c := mm.Complaints[key]
	if c == nil {
		if len(mm.Complaints) >= MaxComplaints && !mm.forgetComplaints() {
			return
		}
		c = &complaint{Since: mm.Now}
		if mm.Complaints == nil {
			mm.Complaints = make(complaints)
		}
		mm.Complaints[key] = c
	}
	c.Protocol, c.Identity, c.Reason, c.Last = protocol, identity, reason, mm.Now
}

// forgetComplaints drops the complaints that have lasted long enough. It reports whether there were
// any.
func (mm *Table) forgetComplaints() bool {
	before := len(mm.Complaints)
	for key, c := range mm.Complaints {
		if mm.Now.Sub(c.Last) >= ComplaintLasts {
			delete(mm.Complaints, key)
		}
	}
	return len(mm.Complaints) < before
}

// Settled drops the complaints of some kinds about the router at an NBMA address: a packet has
// shown the opposite.
func (mm *Table) Settled(nbma netip.Addr, kinds ...report.MismatchKind) {
	if len(mm.Complaints) == 0 {
		return
	}
	for _, kind := range kinds {
		delete(mm.Complaints, complaintKey{kind, nbma})
	}
}
