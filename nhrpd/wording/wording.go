// Package wording puts values into the words in which people read them: times, sizes, addresses.
// Tables, problems and accounts share it, so that a value reads the same everywhere.
package wording

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// When returns how far a time is from now; "" for the zero time.
func When(t, now time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case t.After(now):
		return "in " + Span(t.Sub(now))
	}
	return Span(now.Sub(t)) + " ago"
}

// Span writes a duration with its two largest units.
func Span(d time.Duration) string {
	d = d.Round(time.Second)
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

// Size formats a number of bytes with a binary unit.
func Size(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	x, u := float64(n)/1024, 0
	for ; x >= 1023.95 && u < len(units)-1; u++ {
		x /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", x, units[u])
}

// Packets formats a number of packets.
func Packets(n uint64) string {
	if n == 1 {
		return "1 packet"
	}
	return fmt.Sprintf("%d packets", n)
}

// Place is the NBMA address of a peer, with the mark of its SA if other peers have the same
// address.
type Place struct {
	nbma netip.Addr
	mark uint32
}

// At returns the place of a peer. The mark is 0 if no other peer has the address.
func At(nbma netip.Addr, mark uint32) Place { return Place{nbma, mark} }

// IsValid reports whether the address is set.
func (p Place) IsValid() bool { return p.nbma.IsValid() }

// Compare orders places by address and mark.
func (p Place) Compare(q Place) int {
	return cmp.Or(p.nbma.Compare(q.nbma), cmp.Compare(p.mark, q.mark))
}

// String returns the address and the mark.
func (p Place) String() string {
	if p.mark == 0 {
		return p.nbma.String()
	}
	return fmt.Sprintf("%s, mark %d", p.nbma, p.mark)
}

// Or returns an address, or other words if there is none.
func Or(a netip.Addr, none string) string {
	if !a.IsValid() {
		return none
	}
	return a.String()
}

// NAT names which of the two routers of an SA are behind NAT: "here", "there" or "both"; "" if none
// is.
func NAT(local, remote bool) string {
	switch {
	case local && remote:
		return "both"
	case local:
		return "here"
	case remote:
		return "there"
	}
	return ""
}

// Prefixes lists the prefixes of a client, with those in reserve at the end.
func Prefixes(inUse, reserve []netip.Prefix) string {
	var texts []string
	for _, p := range inUse {
		texts = append(texts, p.String())
	}
	for _, p := range reserve {
		texts = append(texts, p.String()+" (reserve)")
	}
	return strings.Join(texts, " ")
}
