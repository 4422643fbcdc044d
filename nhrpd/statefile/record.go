package statefile

import (
	"encoding/json"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
)

// record is any record but the first one. One of its fields is set.
type record struct {
	Interface *iface    `json:"Interface,omitempty"`
	NHS       *nhs      `json:"NHS,omitempty"`
	Binding   *binding  `json:"Binding,omitempty"`
	Shortcut  *shortcut `json:"Shortcut,omitempty"`
	Answer    *answer   `json:"Answer,omitempty"`
	Owner     *owner    `json:"Owner,omitempty"`
	Away      *away     `json:"Away,omitempty"`
}

// The types below have the fields of the engine's types, so that Go converts the one into the
// other, except where a field is a peer. What the fields mean is said there. The names in the file
// are fixed here: a field that gets another name in Go keeps its name in the file.

// place identifies a peer: by its outer address, and if the peer shares that address with others,
// by its mark, or by its number if it is parked.
type place struct {
	NBMA   netip.Addr `json:"NBMA"`
	Mark   uint32     `json:"Mark,omitzero"`
	Parked uint32     `json:"Parked,omitzero"`
}

// placeOf returns the place of a peer at an outer address.
func placeOf(id peerid.ID, outer netip.Addr) place {
	p := place{NBMA: outer}
	p.Mark, _ = id.Mark()
	p.Parked, _ = id.Parking()
	if !id.Shares() {
		p.NBMA = id.Address()
	}
	return p
}

// id returns the ID of the peer.
func (p place) id() peerid.ID {
	switch {
	case p.Mark != 0:
		return peerid.Marked(p.Mark)
	case p.Parked != 0:
		return peerid.Parked(p.Parked)
	}
	return peerid.At(p.NBMA)
}

// iface is an engine.SavedInterface without what belongs to the interface.
type iface struct {
	Name      string     `json:"Name"`
	NBMA      netip.Addr `json:"NBMA,omitzero"`
	Second    netip.Addr `json:"Second,omitzero"`
	Protected bool       `json:"Protected,omitzero"`
	SAGroup   string     `json:"SAGroup,omitzero"`
}

// nhs is an engine.SavedNHS.
type nhs struct {
	Name     string     `json:"Name"`
	Protocol netip.Addr `json:"Protocol,omitzero"`
	NBMA     netip.Addr `json:"NBMA"`
}

// binding is an engine.SavedBinding.
type binding struct {
	Protocol netip.Addr `json:"Protocol"`
	place
	ClientNBMA netip.Addr     `json:"ClientNBMA,omitzero"`
	Identity   string         `json:"Identity,omitzero"`
	Sharers    []string       `json:"Sharers,omitzero"`
	Unique     bool           `json:"Unique,omitzero"`
	MTU        uint16         `json:"MTU,omitzero"`
	Prefixes   []netip.Prefix `json:"Prefixes,omitzero"`
	Reserve    []netip.Prefix `json:"Reserve,omitzero"`
	Expires    time.Time      `json:"Expires"`
}

// shortcut is an engine.SavedShortcut.
type shortcut struct {
	Prefix  netip.Prefix `json:"Prefix"`
	Dest    netip.Addr   `json:"Dest"`
	NextHop netip.Addr   `json:"NextHop"`
	place
	Identity  string           `json:"Identity,omitzero"`
	Placement engine.Placement `json:"Placement,omitzero"`
	Expires   time.Time        `json:"Expires"`
}

// bindingOf returns the record of a binding.
func bindingOf(b *engine.SavedBinding) *binding {
	return &binding{
		Protocol:   b.Protocol,
		place:      placeOf(b.Peer, b.Outer),
		ClientNBMA: b.ClientNBMA,
		Identity:   b.Identity,
		Sharers:    b.Sharers,
		Unique:     b.Unique,
		MTU:        b.MTU,
		Prefixes:   b.Prefixes,
		Reserve:    b.Reserve,
		Expires:    b.Expires,
	}
}

// saved returns the binding of the record.
func (b *binding) saved() engine.SavedBinding {
	return engine.SavedBinding{
		Protocol:   b.Protocol,
		Peer:       b.id(),
		Outer:      b.NBMA,
		ClientNBMA: b.ClientNBMA,
		Identity:   b.Identity,
		Sharers:    b.Sharers,
		Unique:     b.Unique,
		MTU:        b.MTU,
		Prefixes:   b.Prefixes,
		Reserve:    b.Reserve,
		Expires:    b.Expires,
	}
}

// shortcutOf returns the record of a shortcut.
func shortcutOf(s *engine.SavedShortcut) *shortcut {
	return &shortcut{
		Prefix:    s.Prefix,
		Dest:      s.Dest,
		NextHop:   s.NextHop,
		place:     placeOf(s.Peer, s.Outer),
		Identity:  s.Identity,
		Placement: s.Placement,
		Expires:   s.Expires,
	}
}

// saved returns the shortcut of the record.
func (s *shortcut) saved() engine.SavedShortcut {
	return engine.SavedShortcut{
		Prefix:    s.Prefix,
		Dest:      s.Dest,
		NextHop:   s.NextHop,
		Peer:      s.id(),
		Outer:     s.NBMA,
		Identity:  s.Identity,
		Placement: s.Placement,
		Expires:   s.Expires,
	}
}

// answer is an engine.SavedAnswer.
type answer struct {
	Requester netip.Addr   `json:"Requester"`
	NBMA      netip.Addr   `json:"NBMA"`
	Prefix    netip.Prefix `json:"Prefix"`
	Dest      netip.Addr   `json:"Dest"`
	Mapped    netip.Addr   `json:"Mapped,omitzero"`
	Vouched   bool         `json:"Vouched,omitzero"`
	Identity  string       `json:"Identity,omitzero"`
	Expires   time.Time    `json:"Expires"`
}

// owner is an engine.SavedOwner.
type owner struct {
	Protocol netip.Addr `json:"Protocol"`
	Identity string     `json:"Identity"`
	Expires  time.Time  `json:"Expires"`
}

// away is an engine.SavedAway.
type away struct {
	Identity string     `json:"Identity,omitzero"`
	NBMA     netip.Addr `json:"NBMA"`
	Expires  time.Time  `json:"Expires"`
}

// encodeInterface writes the record of an interface and those of what belongs to it.
func encodeInterface(out *json.Encoder, ifc *engine.SavedInterface) error {
	err := out.Encode(record{
		Interface: &iface{
			Name: ifc.Name, NBMA: ifc.NBMA, Second: ifc.Second, Protected: ifc.Protected,
			SAGroup: ifc.SAGroup,
		},
	})
	if err != nil {
		return err
	}
	for i := range ifc.NHS {
		if err := out.Encode(record{NHS: (*nhs)(&ifc.NHS[i])}); err != nil {
			return err
		}
	}
	for i := range ifc.Bindings {
		if err := out.Encode(record{Binding: bindingOf(&ifc.Bindings[i])}); err != nil {
			return err
		}
	}
	for i := range ifc.Shortcuts {
		if err := out.Encode(record{Shortcut: shortcutOf(&ifc.Shortcuts[i])}); err != nil {
			return err
		}
	}
	for i := range ifc.Answers {
		if err := out.Encode(record{Answer: (*answer)(&ifc.Answers[i])}); err != nil {
			return err
		}
	}
	for i := range ifc.Owners {
		if err := out.Encode(record{Owner: (*owner)(&ifc.Owners[i])}); err != nil {
			return err
		}
	}
	for i := range ifc.Away {
		if err := out.Encode(record{Away: (*away)(&ifc.Away[i])}); err != nil {
			return err
		}
	}
	return nil
}

// addTo adds the record to a state. What belongs to an interface is left out if no interface came
// before.
func (r *record) addTo(s *engine.Saved) {
	if r.Interface != nil {
		s.Interfaces = append(s.Interfaces, engine.SavedInterface{
			Name:      r.Interface.Name,
			NBMA:      r.Interface.NBMA,
			Second:    r.Interface.Second,
			Protected: r.Interface.Protected,
			SAGroup:   r.Interface.SAGroup,
		})
		return
	}
	if len(s.Interfaces) == 0 {
		return
	}
	ifc := &s.Interfaces[len(s.Interfaces)-1]
	switch {
	case r.NHS != nil:
		ifc.NHS = append(ifc.NHS, engine.SavedNHS(*r.NHS))
	case r.Binding != nil:
		ifc.Bindings = append(ifc.Bindings, r.Binding.saved())
	case r.Shortcut != nil:
		ifc.Shortcuts = append(ifc.Shortcuts, r.Shortcut.saved())
	case r.Answer != nil:
		ifc.Answers = append(ifc.Answers, engine.SavedAnswer(*r.Answer))
	case r.Owner != nil:
		ifc.Owners = append(ifc.Owners, engine.SavedOwner(*r.Owner))
	case r.Away != nil:
		ifc.Away = append(ifc.Away, engine.SavedAway(*r.Away))
	}
}
