package vici

import "slices"

// A CHILD_SA counts from nought. What those before it counted is carried over when it is rekeyed, so that a peer's traffic can be told
// for as long as its SA has lived.

// inherit returns the children with what those before them carried, and what those counted whose place they take. The list given stays
// as it is: readers may have it.
func inherit(children, before []Child) []Child {
	children = slices.Clone(children)
	for i := range children {
		c := &children[i]
		if same := slices.IndexFunc(before, func(b Child) bool { return b.ID == c.ID }); same >= 0 {
			c.CarriedIn, c.CarriedOut = max(c.CarriedIn, before[same].CarriedIn), max(c.CarriedOut, before[same].CarriedOut)
			continue
		}
		replaced := slices.IndexFunc(before, func(b Child) bool {
			return b.ReqID == c.ReqID && c.ReqID != 0 && b.ID < c.ID &&
				!slices.ContainsFunc(children, func(n Child) bool { return n.ID == b.ID })
		})
		if replaced >= 0 {
			c.carry(&before[replaced])
		}
	}
	return children
}

// carry takes over what a child counted that it replaces.
func (c *Child) carry(replaced *Child) {
	c.CarriedIn = max(c.CarriedIn, replaced.CarriedIn+replaced.BytesIn)
	c.CarriedOut = max(c.CarriedOut, replaced.CarriedOut+replaced.BytesOut)
}
