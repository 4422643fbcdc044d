package xfrm

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"cygnet/kernel/rtnl"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// offloadedState returns a state as the kernel lists it. The state is given to a device in the way
// that flags say.
func offloadedState(src, dst string, index int32, flags byte) []byte {
	b := make([]byte, stateInfoLen)
	copy(b[stateSrc:], netip.MustParseAddr(src).AsSlice())
	copy(b[stateDst:], netip.MustParseAddr(dst).AsSlice())
	binary.NativeEndian.PutUint16(b[stateFamily:], unix.AF_INET)
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint32(7, 1) // some other attribute
	offload := binary.NativeEndian.AppendUint32(nil, uint32(index))
	attributes.Bytes(stateOffload, append(offload, flags, 0, 0, 0))
	return append(b, rtnl.Encode(attributes)...)
}

// packetOffloadOf finds only the devices that do ESP for whole packets of a local address. At those
// devices GRE is in clear.
func TestPacketOffload(t *testing.T) {
	const ours, other = "198.51.100.1", "198.51.100.2"
	locals := []netip.Addr{netip.MustParseAddr(ours)}
	plain := offloadedState(ours, other, 3, offloadPacket)[:stateInfoLen]
	for name, c := range map[string]struct {
		message []byte
		want    int
	}{
		"out":                {offloadedState(ours, other, 3, offloadPacket), 3},
		"in":                 {offloadedState(other, ours, 4, offloadPacket|2), 4},
		"somebody else's":    {offloadedState(other, "198.51.100.3", 3, offloadPacket), 0},
		"crypto only":        {offloadedState(ours, other, 3, 1), 0},
		"not given away":     {plain, 0},
		"cut short":          {plain[:stateInfoLen-1], 0},
		"a broken attribute": {append(append([]byte{}, plain...), 200, 0, 28, 0), 0},
	} {
		if got, _ := packetOffloadOf(c.message, locals); got != c.want {
			t.Errorf("%s: device %d, want %d", name, got, c.want)
		}
	}
}
