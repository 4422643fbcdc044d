package xfrm

import (
	"bytes"
	"testing"

	"cygnet/kernel/rtnl"

	"github.com/mdlayher/netlink"
)

// The parser does not panic or write into the message, however long the message is and whatever
// lengths its attributes claim.
func FuzzGuardTouched(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		for _, kind := range []netlink.HeaderType{xfrmNewPolicy, xfrmDelPolicy, xfrmUpdPolicy} {
			m := netlink.Message{Header: netlink.Header{Type: kind}, Data: data}
			GuardTouched(rtnl.Notice{Messages: []netlink.Message{m}})
		}
		if !bytes.Equal(before, data) {
			t.Error("a parser wrote into the message")
		}
	})
}
