package nhrpsocket

import (
	"cygnet/kernel/rtnl"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlMessage returns one control message as the kernel writes it, without the padding at its
// end.
func controlMessage(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgLen(0))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	return append(b, data...)
}

// mark finds the mark among valid control messages, and returns 0 for damaged ones.
func TestMark(t *testing.T) {
	value := binary.NativeEndian.AppendUint32(nil, 0xa1b2c3d4)
	other := controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMP, []byte{1, 2, 3, 4})
	for len(other)%8 != 0 {
		other = append(other, 0)
	}
	wild := controlMessage(unix.SOL_SOCKET, unix.SO_MARK, value)
	(*unix.Cmsghdr)(unsafe.Pointer(&wild[0])).SetLen(1000)
	empty := controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMP, nil)
	(*unix.Cmsghdr)(unsafe.Pointer(&empty[0])).SetLen(0)
	for name, test := range map[string]struct {
		control []byte
		want    uint32
	}{
		"a mark": {
			controlMessage(unix.SOL_SOCKET, unix.SO_MARK, value), 0xa1b2c3d4,
		},
		"behind another message": {
			append(other, controlMessage(unix.SOL_SOCKET, unix.SO_MARK, value)...), 0xa1b2c3d4,
		},
		"nothing":                 {nil, 0},
		"another message only":    {other, 0},
		"another level":           {controlMessage(unix.SOL_PACKET, unix.SO_MARK, value), 0},
		"a mark cut short":        {controlMessage(unix.SOL_SOCKET, unix.SO_MARK, value[:3]), 0},
		"a length beyond the end": {wild, 0},
		"a length of nothing":     {empty, 0},
		"a header cut short":      {wild[:unix.CmsgLen(0)-1], 0},
	} {
		t.Run(name, func(t *testing.T) {
			var buffer controlBuffer
			n := copy(buffer.bytes[:], test.control)
			if n < len(test.control) {
				t.Fatalf("%d bytes do not fit", len(test.control))
			}
			if got := mark(buffer.bytes[:n]); got != test.want {
				t.Errorf("mark %#x, want %#x", got, test.want)
			}
		})
	}
}

// A message is sent only to a unicast address as long as the device's link-layer addresses.
func TestAddressFitsTheDevice(t *testing.T) {
	for _, test := range []struct {
		to     string
		length int
		fits   bool
	}{
		{"192.0.2.1", 4, true},
		{"192.0.2.1", 16, false},
		{"2001:db8::1", 16, true},
		{"2001:db8::1", 4, false},
		{"::ffff:192.0.2.1", 4, false},
		{"::ffff:192.0.2.1", 16, false},
		{"fe80::1%eth0", 16, false},
		{"0.0.0.0", 4, false},
		{"::", 16, false},
		{"224.0.0.1", 4, false},
		{"ff02::1", 16, false},
	} {
		s := &Socket{length: test.length, index: 7, protocol: rtnl.NetworkOrder(0x2001)}
		var link linkAddress
		err := s.address(&link, &Message{NBMA: netip.MustParseAddr(test.to), Data: []byte{1}})
		if test.fits != (err == nil) || err != nil && !errors.Is(err, ErrNBMA) {
			t.Errorf("%s on a device with addresses of %d bytes: %v", test.to, test.length, err)
		}
		if got, _ := netip.AddrFromSlice(link.addr[:link.halen]); test.fits &&
			got.String() != test.to {
			t.Errorf("%s is written as %v", test.to, got)
		}
	}
}

// WriteErrors names the first failure, and errors.Is and errors.As find every failure.
func TestWriteErrors(t *testing.T) {
	one := &WriteError{Index: 3, NBMA: netip.MustParseAddr("192.0.2.1"), Err: unix.ENETDOWN}
	for want, err := range map[string]error{
		"send to 192.0.2.1: network is down": WriteErrors{one},
		"send to 192.0.2.1: network is down (and 1 more of the batch failed)": WriteErrors{
			one, {Err: ErrSize},
		},
		"send to invalid IP: not an address of the tunnel's underlay": WriteErrors{
			{Err: ErrNBMA},
		},
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
	all := error(WriteErrors{one, {Err: ErrSize}})
	var first *WriteError
	if !errors.Is(all, unix.ENETDOWN) || !errors.Is(all, ErrSize) || errors.Is(all, ErrNBMA) ||
		!errors.As(all, &first) || first.Index != 3 {
		t.Errorf("%v does not hold its reasons", all)
	}
}

// linkAddress has the layout of struct sockaddr_ll.
func TestLayoutOfLinkAddress(t *testing.T) {
	if linkPrefix != 12 || linkSize != 28 || unsafe.Offsetof(linkAddress{}.halen) != 11 {
		t.Errorf("struct sockaddr_ll: address at %d, %d bytes", linkPrefix, linkSize)
	}
}
