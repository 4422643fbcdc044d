package xfrm

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// notification returns a netlink message whose body has an address and its family at the given
// offsets.
func notification(kind uint16, size, at, familyAt int, dst string) []byte {
	b := make([]byte, unix.SizeofNlMsghdr+size)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	body := b[unix.SizeofNlMsghdr:]
	if dst == "" {
		return b
	}
	a := netip.MustParseAddr(dst)
	copy(body[at:], a.AsSlice())
	family := uint16(unix.AF_INET6)
	if a.Is4() {
		family = unix.AF_INET
	}
	binary.NativeEndian.PutUint16(body[familyAt:], family)
	return b
}

// deletedIn returns the destinations of deleted and expired states. After a flush, or if a message
// cannot be read, any state may be gone.
func TestDeletedIn(t *testing.T) {
	const (
		newSA    = 0x10
		idLen    = 24
		infoLen  = 224
		tooShort = 18
	)
	deleted := notification(xfrmMsgDelSA, idLen, 0, 20, "192.0.2.11")
	for name, test := range map[string]struct {
		messages []byte
		to       []string
		all      bool
	}{
		"deleted": {deleted, []string{"192.0.2.11"}, false},
		"expired": {
			notification(xfrmMsgExpire, infoLen, 56, 212, "192.0.2.12"), []string{"192.0.2.12"},
			false,
		},
		"two": {
			slices.Concat(deleted, notification(xfrmMsgDelSA, idLen, 0, 20, "2001:db8::1")),
			[]string{"192.0.2.11", "2001:db8::1"}, false,
		},
		"a new one": {notification(newSA, infoLen, 56, 212, "192.0.2.13"), nil, false},
		"a flush": {
			slices.Concat(deleted, notification(xfrmMsgFlushSA, 4, 0, 0, "")),
			[]string{"192.0.2.11"}, true,
		},
		"too short":     {notification(xfrmMsgDelSA, tooShort, 0, 16, "192.0.2.11"), nil, true},
		"cut off":       {deleted[:30], nil, true},
		"half a header": {deleted[:10], nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			to := map[netip.Addr]bool{}
			if all := deletedIn(test.messages, to); all != test.all {
				t.Errorf("want all %t, have %t", test.all, all)
			}
			var have []string
			for _, a := range slices.SortedFunc(maps.Keys(to), netip.Addr.Compare) {
				have = append(have, a.String())
			}
			if d := cmp.Diff(test.to, have); d != "" {
				t.Errorf("destinations differ (- want, + have):\n%s", d)
			}
		})
	}
}
