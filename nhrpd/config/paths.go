package config

import "time"

// Paths says how the direct paths to other routers are proven before they are used, and watched
// while they are.
type Paths struct {
	Prove      bool          // where the other router answers probes
	ProvenOnly bool          // no other path is used
	SmallerMTU bool          // a path that loses large packets gets routes with a smaller MTU
	Timeout    time.Duration // within which a dead path is left; 0: paths are not watched
}

// The words of prove_paths and large_packets.
const (
	proveOff  = "off"
	proveOn   = "on"
	proveOnly = "only"

	largeByHub      = "hub"
	largeSmallerMTU = "smaller_mtu"
)

// paths checks how direct paths are proven.
func (c *checker) paths(raw *rawInterface, i *Interface) {
	prove := c.word(raw.ProvePaths, proveOn, proveOn, proveOff, proveOnly)
	i.Paths.Prove, i.Paths.ProvenOnly = prove != proveOff, prove == proveOnly
	i.Paths.SmallerMTU = c.word(
		raw.LargePackets, largeByHub, largeByHub, largeSmallerMTU) == largeSmallerMTU
	if raw.PathTimeout.Set && raw.PathTimeout.V == 0 {
		i.Paths.Timeout = 0
		return
	}
	i.Paths.Timeout = c.duration(raw.PathTimeout, i.Paths.Timeout, time.Second, time.Minute)
}
