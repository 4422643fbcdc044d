package config

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/config/document"
	"cygnet/nhrpd/config/overhead"
)

// UsualUnderlayMTU is the MTU of an underlay of which no device tells it: there is none yet, or the
// tunnel sends from an address of the loopback device.
const UsualUnderlayMTU = 1500

// The least MTU of a tunnel: every IPv4 host takes 576 bytes (RFC 791), and every link of IPv6 1280
// (RFC 8200 §5). mostMTU leaves room for GRE and ESP in the longest IP packet.
const (
	leastMTU  = 576
	leastMTU6 = 1280
	mostMTU   = 65000
)

// OuterDF is which of the tunnel's outer packets have the flag don't fragment. It decides what
// becomes of a packet that is longer than the path.
type OuterDF string

// The values of OuterDF. An empty one leaves a tunnel of the site's own as it is, and stands for
// OuterDFNever otherwise.
const (
	OuterDFNever  OuterDF = "never"  // it leaves in fragments
	OuterDFCopy   OuterDF = "copy"   // fragments, or its sender is told
	OuterDFAlways OuterDF = "always" // it is dropped
)

// outerDF checks what the outer packets say about fragments.
func (c *checker) outerDF(raw *rawInterface, i *Interface) {
	i.OuterDF = OuterDF(c.word(
		raw.OuterDF, "", string(OuterDFNever), string(OuterDFCopy), string(OuterDFAlways)))
}

// The words of mtu and mss.
const (
	wordAuto = "auto"
	wordOff  = "off"
)

// mtu checks the tunnel's MTU: a number, or "auto".
func (c *checker) mtu(raw *rawInterface, i *Interface) {
	v := raw.MTU
	switch {
	case !v.Set:
	case v.V.Word == wordAuto:
		i.AutoMTU = true
	case v.V.Word != "":
		c.Report(v.At, "found %s; allowed are \"auto\" and a number of bytes",
			document.Quote(v.V.Word))
	default:
		n := document.Value[int64]{V: v.V.Number, At: v.At, Set: true}
		i.MTU = number(c, n, i.MTU, int64(i.LeastMTU()), mostMTU)
	}
}

// MSS says to what the maximum segment size of TCP connections through the tunnel is lowered.
type MSS struct {
	Off  bool
	Size int // for IPv4 and IPv6; 0: what fits into the tunnel's MTU
}

// The least and the most of the setting mss: the default of IPv4 hosts (RFC 9293 §3.7.1), and what
// the option can say.
const (
	leastMSS = 536
	mostMSS  = 65535
)

// mss checks to what the maximum segment size is lowered: a number, "auto" or "off".
func (c *checker) mss(raw *rawInterface, i *Interface) {
	v := raw.MSS
	switch {
	case !v.Set, v.V.Word == wordAuto:
	case v.V.Word == wordOff:
		i.MSS.Off = true
	case v.V.Word != "":
		c.Report(v.At, "found %s; allowed are \"auto\", \"off\" and a number of bytes",
			document.Quote(v.V.Word))
	default:
		n := document.Value[int64]{V: v.V.Number, At: v.At, Set: true}
		i.MSS.Size = number(c, n, 0, leastMSS, mostMSS)
	}
}

// Overhead returns what stands around a packet of the interface's tunnel in an underlay of IPv4.
func (i *Interface) Overhead() overhead.Overhead { return overhead.Of(i.headers()) }

// OverheadIPv6 is Overhead in an underlay of IPv6.
func (i *Interface) OverheadIPv6() overhead.Overhead {
	t := i.headers()
	t.OverIPv6 = true
	return overhead.Of(t)
}

// headers returns what the headers of the interface's tunnel depend on, over IPv4.
func (i *Interface) headers() overhead.Tunnel {
	return overhead.Tunnel{
		Keyed: i.Key != nil, Protected: i.Protected, ESPProposals: i.IPsec.espProposals(),
	}
}

// OverIPv6 reports whether the configuration has the tunnel send over IPv6: from an IPv6 address,
// or to one. A device and a host name may bring further IPv6 addresses.
func (i *Interface) OverIPv6() bool {
	is6 := func(text string) bool {
		a, err := netip.ParseAddr(text)
		return err == nil && a.Is6()
	}
	return i.Underlay.Address6.IsValid() ||
		slices.ContainsFunc(i.NHS, func(n NHS) bool { return is6(n.NBMA) }) ||
		slices.ContainsFunc(i.Maps, func(m Map) bool { return m.NBMA.Is6() })
}

// espProposals returns the proposals of the SAs that carry GRE; none: strongSwan's default.
func (p *IPsec) espProposals() []string {
	switch {
	case p == nil:
		return nil
	case p.SwanctlConnection == "":
		return p.ESPProposals
	case p.Swanctl == nil:
		return nil
	}
	return p.Swanctl.ESPProposals()
}

// LeastMTU returns the least MTU that the interface's tunnel may have.
func (i *Interface) LeastMTU() int {
	if i.IPv6().Address.IsValid() {
		return leastMTU6
	}
	return leastMTU
}

// FitMTU returns the MTU of a tunnel with AutoMTU over an underlay with that MTU: the longest
// packet that leaves in one piece, within the limits of the setting, and over IPv6 too if OverIPv6.
// 0 stands for an underlay of which the MTU is not known.
func (i *Interface) FitMTU(underlay int) int {
	if underlay == 0 {
		underlay = UsualUnderlayMTU
	}
	longest := i.Overhead().Longest(underlay)
	if i.OverIPv6() {
		longest = min(longest, i.OverheadIPv6().Longest(underlay))
	}
	return min(max(longest, i.LeastMTU()), mostMTU)
}

// SegmentSizes returns to what the maximum segment size of TCP over IPv4 and IPv6 is lowered; 0:
// not at all.
func (i *Interface) SegmentSizes() (ipv4, ipv6 int) {
	const tcp, header4, header6 = 20, 20, 40
	switch {
	case i.MSS.Off:
		return 0, 0
	case i.MSS.Size > 0:
		return i.MSS.Size, i.MSS.Size
	}
	return i.MTU - header4 - tcp, i.MTU - header6 - tcp
}
