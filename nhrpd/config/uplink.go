package config

import (
	"slices"
	"time"

	"cygnet/nhrpd/config/document"
)

// The values of underlay_reserve.
const (
	reserveIdle = "idle"
	reserveWarm = "warm"
)

// firstOf returns the first of one or more strings as a setting of its own.
func firstOf(v document.Value[document.OneOrMore]) document.Value[string] {
	first := document.Value[string]{At: v.At, Set: v.Set}
	if v.Set {
		first.V = v.V[0]
	}
	if len(v.V) > 1 {
		first.At = v.At.Element(0)
	}
	return first
}

// uplinks checks the devices that the tunnel can send from beside the first, and how they are used.
// underlay has checked the first.
func (c *checker) uplinks(raw *rawInterface, i *Interface) {
	i.WarmReserve = c.word(raw.UnderlayReserve, reserveIdle, reserveIdle,
		reserveWarm) == reserveWarm
	i.UnderlayReturn = c.duration(raw.UnderlayReturn, i.UnderlayReturn, time.Second, time.Hour)
	if len(raw.Underlay.V) < 2 || allAddresses(raw.Underlay.V) {
		return
	}
	c.reserve(raw, i)
	at := raw.Underlay.At
	switch {
	case i.Underlay.Device == "":
		c.Report(at.Element(0), "found an address beside other underlays; allowed are devices only, whose addresses are followed")
	case len(raw.NHS) == 0:
		c.Report(at, "found several devices and no NHS; allowed with nhs, since the device is chosen by whether an NHS answers over it")
	case raw.Protection.V == "none":
		c.Report(at, "found several devices with protection = \"none\"; allowed with \"ipsec\", since the NHS's IKE is what is probed over them")
	case raw.UnderlayVRF.Set:
		c.Report(raw.UnderlayVRF.At, "found with several devices in underlay; allowed is underlay_table, which gives each device a table")
	case i.UnderlayTable == 0 && !raw.UnderlayTable.Present():
		c.Warn(at, "without underlay_table all devices use the main table, where the best default route may not be that of the device in use: give underlay_table = 100, and the default route of %s in table 100, of %s in table 101", i.Underlay.Device, raw.Underlay.V[1])
	}
}

// reserve checks the devices after the first.
func (c *checker) reserve(raw *rawInterface, i *Interface) {
	if n := len(raw.Underlay.V); n > MaxReserve+1 {
		c.Report(raw.Underlay.At, "found %d devices, allowed are %d", n, MaxReserve+1)
		return
	}
	for n, name := range raw.Underlay.V[1:] {
		at := raw.Underlay.At.Element(n + 1)
		switch {
		case !isDeviceName(name) || looksLikeAddress(name):
			c.Report(at, "found %s, allowed is a device such as \"wwan0\"", document.Quote(name))
		case name == i.Name:
			c.Report(at, "found %s, the tunnel itself; allowed is a device that leads to the other routers",
				document.Quote(name))
		case name == i.Underlay.Device || slices.Contains(i.Reserve, name):
			c.Report(at, "found %s, which is there already; allowed is each device once",
				document.Quote(name))
		default:
			i.Reserve = append(i.Reserve, name)
		}
	}
}
