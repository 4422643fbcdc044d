package statefile

import (
	"encoding/json"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine"
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
// other. What the fields mean is said there. The names in the file are fixed here: a field that
// gets another name in Go keeps its name in the file.

// iface is an engine.SavedInterface without what belongs to the interface.
type iface struct {
	Name      string     `json:"Name"`
	NBMA      netip.Addr `json:"NBMA,omitzero"`
	Protected bool       `json:"Protected,omitzero"`
}

// nhs is an engine.SavedNHS.
type nhs struct {
	Name     string     `json:"Name"`
	Protocol netip.Addr `json:"Protocol,omitzero"`
	NBMA     netip.Addr `json:"NBMA"`
}

// binding is an engine.SavedBinding.
type binding struct {
	Protocol   netip.Addr     `json:"Protocol"`
	NBMA       netip.Addr     `json:"NBMA"`
	Real       netip.Addr     `json:"Real,omitzero"`
	ClientNBMA netip.Addr     `json:"ClientNBMA,omitzero"`
	Identity   string         `json:"Identity,omitzero"`
	Unique     bool           `json:"Unique,omitzero"`
	MTU        uint16         `json:"MTU,omitzero"`
	Prefixes   []netip.Prefix `json:"Prefixes,omitzero"`
	Expires    time.Time      `json:"Expires"`
}

// shortcut is an engine.SavedShortcut.
type shortcut struct {
	Prefix   netip.Prefix `json:"Prefix"`
	Dest     netip.Addr   `json:"Dest"`
	NextHop  netip.Addr   `json:"NextHop"`
	NBMA     netip.Addr   `json:"NBMA"`
	Real     netip.Addr   `json:"Real,omitzero"`
	Identity string       `json:"Identity,omitzero"`
	Expires  time.Time    `json:"Expires"`
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
		Interface: &iface{Name: ifc.Name, NBMA: ifc.NBMA, Protected: ifc.Protected},
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
		if err := out.Encode(record{Binding: (*binding)(&ifc.Bindings[i])}); err != nil {
			return err
		}
	}
	for i := range ifc.Shortcuts {
		if err := out.Encode(record{Shortcut: (*shortcut)(&ifc.Shortcuts[i])}); err != nil {
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
			Protected: r.Interface.Protected,
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
		ifc.Bindings = append(ifc.Bindings, engine.SavedBinding(*r.Binding))
	case r.Shortcut != nil:
		ifc.Shortcuts = append(ifc.Shortcuts, engine.SavedShortcut(*r.Shortcut))
	case r.Answer != nil:
		ifc.Answers = append(ifc.Answers, engine.SavedAnswer(*r.Answer))
	case r.Owner != nil:
		ifc.Owners = append(ifc.Owners, engine.SavedOwner(*r.Owner))
	case r.Away != nil:
		ifc.Away = append(ifc.Away, engine.SavedAway(*r.Away))
	}
}
