package statefile

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine"
)

// version2 is the version before this one. In its file, only bindings had records of their own; an
// interface's record had everything else of the interface. Its NHSs, bindings and shortcuts also
// had what only the status shows.
const version2 = 2

// up2 is the state of a shortcut that is up, as version 2 wrote it. Nothing else was saved, and
// what has another state is not taken over.
const up2 = 2

// record2 is any record of version 2 but the first one. One of its fields is set.
type record2 struct {
	Interface *iface2   `json:"Interface"`
	Binding   *binding2 `json:"Binding"` // of the interface that came last
}

type iface2 struct {
	Name      string      `json:"Name"`
	NBMA      netip.Addr  `json:"NBMA"`
	Protected bool        `json:"Protected"`
	NHS       []nhs2      `json:"NHS"`
	Shortcuts []shortcut2 `json:"Shortcuts"`
	Answers   []answer2   `json:"Answers"`
	Owners    []owner2    `json:"Owners"`
	Away      []away2     `json:"Away"`
}

type nhs2 struct {
	Name     string     `json:"Name"`
	Protocol netip.Addr `json:"Protocol"`
	NBMA     netip.Addr `json:"NBMA"`
}

type binding2 struct {
	Protocol   netip.Addr     `json:"Protocol"`
	NBMA       netip.Addr     `json:"NBMA"`
	Real       netip.Addr     `json:"Real"`
	ClientNBMA netip.Addr     `json:"ClientNBMA"`
	Identity   string         `json:"Identity"`
	Unique     bool           `json:"Unique"`
	MTU        uint16         `json:"MTU"`
	Prefixes   []netip.Prefix `json:"Prefixes"`
	Expires    time.Time      `json:"Expires"`
}

type shortcut2 struct {
	Prefix   netip.Prefix `json:"Prefix"`
	Dest     netip.Addr   `json:"Dest"`
	NextHop  netip.Addr   `json:"NextHop"`
	NBMA     netip.Addr   `json:"NBMA"`
	Real     netip.Addr   `json:"Real"`
	Identity string       `json:"Identity"`
	State    int          `json:"State"`
	Expires  time.Time    `json:"Expires"`
}

type answer2 struct {
	Requester netip.Addr   `json:"Requester"`
	NBMA      netip.Addr   `json:"NBMA"`
	Prefix    netip.Prefix `json:"Prefix"`
	Dest      netip.Addr   `json:"Dest"`
	Mapped    netip.Addr   `json:"Mapped"`
	Vouched   bool         `json:"Vouched"`
	Identity  string       `json:"Identity"`
	Expires   time.Time    `json:"Expires"`
}

type owner2 struct {
	Protocol netip.Addr `json:"Protocol"`
	Identity string     `json:"Identity"`
	Expires  time.Time  `json:"Expires"`
}

type away2 struct {
	Identity string     `json:"Identity"`
	NBMA     netip.Addr `json:"NBMA"`
	Expires  time.Time  `json:"Expires"`
}

// decodeVersion2 adds the records of version 2 to a state.
func decodeVersion2(in *reader, saved *engine.Saved) error {
	in.most = longestRecord2
	for {
		var old record2
		switch err := in.next(&old); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		for _, r := range old.migrate() {
			r.addTo(saved)
		}
	}
}

// migrate returns the records of this version that say what the record of version 2 says.
func (old *record2) migrate() []record {
	switch {
	case old.Interface != nil:
		return old.Interface.migrate()
	case old.Binding != nil:
		return []record{{Binding: old.Binding.migrate()}}
	}
	return nil
}

// migrate returns the binding with its peer in place of an address that stands for one.
func (old *binding2) migrate() *binding {
	return &binding{
		Protocol:   old.Protocol,
		place:      place2(old.NBMA, old.Real),
		ClientNBMA: old.ClientNBMA,
		Identity:   old.Identity,
		Unique:     old.Unique,
		MTU:        old.MTU,
		Prefixes:   old.Prefixes,
		Expires:    old.Expires,
	}
}

// place2 returns the place of a peer of version 2. There, an NBMA address of 0.0.0.0/8 stood for a
// peer behind the address Real: its low 24 bits are the peer's mark, or if they begin with 255, the
// peer was parked and the low 16 bits are its number.
func place2(nbma, real netip.Addr) place {
	if !nbma.Is4() || !real.IsValid() {
		return place{NBMA: nbma}
	}
	number := binary.BigEndian.Uint32(nbma.AsSlice())
	switch {
	case number >= 1<<24:
		return place{NBMA: nbma}
	case number>>16 == 255:
		return place{NBMA: real, Parked: number&0xffff + 1}
	}
	return place{NBMA: real, Mark: number}
}

// migrate returns the record of the interface, and one record for each thing that its record had.
func (old *iface2) migrate() []record {
	records := []record{
		{Interface: &iface{Name: old.Name, NBMA: old.NBMA, Protected: old.Protected}},
	}
	for i := range old.NHS {
		records = append(records, record{NHS: (*nhs)(&old.NHS[i])})
	}
	for i := range old.Shortcuts {
		if s := &old.Shortcuts[i]; s.State == up2 {
			records = append(records, record{Shortcut: s.migrate()})
		}
	}
	for i := range old.Answers {
		records = append(records, record{Answer: (*answer)(&old.Answers[i])})
	}
	for i := range old.Owners {
		records = append(records, record{Owner: (*owner)(&old.Owners[i])})
	}
	for i := range old.Away {
		records = append(records, record{Away: (*away)(&old.Away[i])})
	}
	return records
}

// migrate returns the shortcut without its state, and with its peer as in a binding.
func (old *shortcut2) migrate() *shortcut {
	return &shortcut{
		Prefix:   old.Prefix,
		Dest:     old.Dest,
		NextHop:  old.NextHop,
		place:    place2(old.NBMA, old.Real),
		Identity: old.Identity,
		Expires:  old.Expires,
	}
}
