package vici

import "slices"

// A CHILD_SA counts from nought. What those before it counted is carried over when it is rekeyed,
// so that a peer's traffic can be told for as long as its SA has lived. Of what the old child
// sent, charon tells at the rekeying what it knew when it last asked the kernel: the kernel's
// state is gone by then. So whoever reads the kernel's counts says them here.

// counts are bytes by the SPI of a child.
type counts struct{ in, out map[uint32]uint64 }

// Counted takes what the kernel has counted by now, by the SPIs of the states in and out. The
// maps are the client's from then on.
func (c *Client) Counted(in, out map[uint32]uint64) {
	c.post(func(r *reconciler) { r.count(counts{in, out}) })
}

// count replaces the counts, except those of children that are known still: the kernel loses a
// state before charon tells that its child was rekeyed.
func (r *reconciler) count(fresh counts) {
	for _, sa := range r.sas {
		for i := range sa.Children {
			c := &sa.Children[i]
			fresh.in[c.SPIIn] = max(fresh.in[c.SPIIn], r.counted.in[c.SPIIn])
			fresh.out[c.SPIOut] = max(fresh.out[c.SPIOut], r.counted.out[c.SPIOut])
		}
	}
	r.counted = fresh
}

// freshest returns children with the larger of their counts, charon's or the kernel's. The list
// given stays as it is.
func (c counts) freshest(children []Child) []Child {
	children = slices.Clone(children)
	for i := range children {
		b := &children[i]
		b.BytesIn, b.BytesOut = max(b.BytesIn, c.in[b.SPIIn]), max(b.BytesOut, c.out[b.SPIOut])
	}
	return children
}

// inherit returns the children with what those before them carried, and what those counted whose
// place they take. The list given stays as it is: readers may have it.
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
