package ike

import "slices"

// A CHILD_SA counts from 0. When it is rekeyed, the new child carries over what the old one
// counted, so that a peer's traffic is known for as long as its IKE_SA lives. charon then reports
// the old child's counters as of when it last asked the kernel, and the kernel's state is gone by
// that time. So the consumer, who reads the kernel's counters anyway, passes them on.

// Counters are bytes by the SPI of an ESP SA, as the kernel counted them.
type Counters struct{ In, Out map[uint32]uint64 }

// Renew replaces the counters by fresh ones, which become the receiver's. The counters of these
// SAs' children are kept where they are larger: the kernel deletes a state before charon reports
// that its child was rekeyed.
func (c *Counters) Renew(fresh Counters, sas map[uint32]*SA) {
	for _, sa := range sas {
		for i := range sa.Children {
			child := &sa.Children[i]
			fresh.In[child.SPIIn] = max(fresh.In[child.SPIIn], c.In[child.SPIIn])
			fresh.Out[child.SPIOut] = max(fresh.Out[child.SPIOut], c.Out[child.SPIOut])
		}
	}
	*c = fresh
}

// Freshest returns children with the larger of their counters: charon's or the kernel's. The list
// given stays as it is.
func (c Counters) Freshest(children []Child) []Child {
	children = slices.Clone(children)
	for i := range children {
		b := &children[i]
		b.BytesIn, b.BytesOut = max(b.BytesIn, c.In[b.SPIIn]), max(b.BytesOut, c.Out[b.SPIOut])
	}
	return children
}

// Inherit returns the children of an IKE_SA with what they carried before, and with what the
// children counted that they have replaced since; before are the children as this end knew them.
// Both lists given stay as they are: readers may have them.
func Inherit(children, before []Child) []Child {
	children = slices.Clone(children)
	for i := range children {
		c := &children[i]
		same := slices.IndexFunc(before, func(b Child) bool { return b.ID == c.ID })
		if same >= 0 {
			c.CarriedIn = max(c.CarriedIn, before[same].CarriedIn)
			c.CarriedOut = max(c.CarriedOut, before[same].CarriedOut)
			continue
		}
		replaced := slices.IndexFunc(before, func(b Child) bool {
			return b.ReqID == c.ReqID && c.ReqID != 0 && b.ID < c.ID &&
				!slices.ContainsFunc(children, func(n Child) bool { return n.ID == b.ID })
		})
		if replaced >= 0 {
			c.Carry(&before[replaced])
		}
	}
	return children
}

// Carry takes over what a child counted that this one replaces.
func (c *Child) Carry(replaced *Child) {
	c.CarriedIn = max(c.CarriedIn, replaced.CarriedIn+replaced.BytesIn)
	c.CarriedOut = max(c.CarriedOut, replaced.CarriedOut+replaced.BytesOut)
}
