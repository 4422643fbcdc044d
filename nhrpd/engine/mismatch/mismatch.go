package mismatch

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
)

const (
	// MaxRecords is how many mismatches one interface remembers.
	MaxRecords = 256
	// Lifetime is how long a mismatch is reported after the last packet that showed it. A router
	// repeats what fails at least once a minute.
	Lifetime = 3 * time.Minute
)

// Table has the mismatches that packets have shown on an interface. Each ends when a packet shows
// the opposite, or Lifetime after the last packet that showed it.
type Table struct {
	*overlay.Interface

	records map[key]*record // nil: none so far
}

// key is the key of a record: a router has at most one mismatch of each kind.
type key struct {
	kind report.MismatchKind
	id   peerid.ID
}

// record is a mismatch that packets have shown, the first of them at since, the latest at last.
type record struct {
	protocol netip.Addr
	identity string
	reason   string
	since    time.Time
	last     time.Time
}

// New returns a table without mismatches.
func New(ifc *overlay.Interface) Table { return Table{Interface: ifc} }

// Record records a mismatch that a packet from a peer has shown. protocol and identity are what the
// router is known by; each may be zero. If the table is full, old mismatches make room; if there
// are none, the new one is not recorded.
func (mm *Table) Record(
	kind report.MismatchKind, id peerid.ID, protocol netip.Addr, identity, reason string,
) {
	at := key{kind, id}
	r := mm.records[at]
	if r == nil {
		if len(mm.records) >= MaxRecords && !mm.forgetOld() {
			return
		}
		if mm.records == nil {
			mm.records = make(map[key]*record)
		}
		r = &record{since: mm.Now}
		mm.records[at] = r
	}
	r.protocol, r.identity, r.reason, r.last = protocol, identity, reason, mm.Now
}

// forgetOld forgets the mismatches whose lifetime is over. It reports whether there were any.
func (mm *Table) forgetOld() bool {
	before := len(mm.records)
	for at, r := range mm.records {
		if !r.current(mm.Now) {
			delete(mm.records, at)
		}
	}
	return len(mm.records) < before
}

// current reports whether the lifetime of a mismatch is not over yet.
func (r *record) current(now time.Time) bool { return now.Sub(r.last) < Lifetime }

// Clear forgets the mismatches of some kinds with a peer, because a packet has shown the opposite.
func (mm *Table) Clear(id peerid.ID, kinds ...report.MismatchKind) {
	if len(mm.records) == 0 {
		return
	}
	for _, kind := range kinds {
		delete(mm.records, key{kind, id})
	}
}

// List returns the mismatches whose lifetime is not over at now, in no order. They lack what the
// interface and the peer tell.
func (mm *Table) List(now time.Time) []report.Mismatch {
	var list []report.Mismatch
	for at, r := range mm.records {
		if r.current(now) {
			list = append(list, report.Mismatch{Kind: at.kind, Peer: at.id, Protocol: r.protocol,
				Identity: r.identity, Reason: r.reason, Since: r.since})
		}
	}
	return list
}
