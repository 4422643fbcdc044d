package ike

import "slices"

// A CHILD_SA counts from 0. When it is rekeyed, the new child carries over what the old one
// counted, so that a peer's traffic is known for as long as its IKE_SA lives. charon then reports
// the old child's counters as of when it last asked the kernel, and the kernel's state is gone by
// that time. So the consumer, who reads the kernel's counters anyway, passes them on.

// Count is what an ESP state of the kernel counted.
type Count struct{ Bytes, Packets uint64 }

// greatest returns the larger of each number.
func (c Count) greatest(o Count) Count {
	return Count{max(c.Bytes, o.Bytes), max(c.Packets, o.Packets)}
}

// Counters are counts by the SPI of an ESP SA, as the kernel has them.
type Counters struct{ In, Out map[uint32]Count }

// Renew replaces the counters by fresh ones, which become the receiver's. The counters of these
// SAs' children are kept where they are larger: the kernel deletes a state before charon reports
// that its child was rekeyed.
func (c *Counters) Renew(fresh Counters, sas map[uint32]*SA) {
	for _, sa := range sas {
		for i := range sa.Children {
			child := &sa.Children[i]
			fresh.In[child.SPIIn] = fresh.In[child.SPIIn].greatest(c.In[child.SPIIn])
			fresh.Out[child.SPIOut] = fresh.Out[child.SPIOut].greatest(c.Out[child.SPIOut])
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
		in, out := c.In[b.SPIIn], c.Out[b.SPIOut]
		b.BytesIn, b.BytesOut = max(b.BytesIn, in.Bytes), max(b.BytesOut, out.Bytes)
		b.PacketsIn, b.PacketsOut = max(b.PacketsIn, in.Packets), max(b.PacketsOut, out.Packets)
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
