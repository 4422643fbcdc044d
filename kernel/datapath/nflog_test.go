package datapath

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// logged returns a message of the kernel about a packet, with the given attributes.
func logged(attributes ...netlink.Attribute) []byte {
	b, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		panic(err)
	}
	return append([]byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 16}, b...)
}

func interfaceIndex(kind uint16, index uint32) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: binary.BigEndian.AppendUint32(nil, index)}
}

func outerSource(b ...byte) netlink.Attribute {
	return netlink.Attribute{Type: nfulaHWAddr, Data: b}
}

func loggedBytes(b ...byte) netlink.Attribute {
	return netlink.Attribute{Type: nfulaPayload, Data: b}
}

// parseNFLOG accepts only packets that arrived on the device and leave by it.
func TestParseNFLOG(t *testing.T) {
	in, out, data := interfaceIndex(nfulaIndexIn, 7), interfaceIndex(nfulaIndexOut, 7),
		loggedBytes(0x45, 0, 0)
	for name, test := range map[string]struct {
		message []byte
		want    Redirect
		ok      bool
	}{
		"a packet that turns back": {
			logged(in, out, outerSource(0, 4, 0, 0, 192, 0, 2, 11, 0, 0, 0, 0), data),
			Redirect{netip.MustParseAddr("192.0.2.11"), []byte{0x45, 0, 0}}, true,
		},
		"without a source": {
			logged(in, out, data), Redirect{Packet: []byte{0x45, 0, 0}}, true,
		},
		"with an Ethernet source": {
			logged(in, out, outerSource(0, 6, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0), data),
			Redirect{Packet: []byte{0x45, 0, 0}}, true,
		},
		"with a source cut short": {
			logged(in, out, outerSource(0, 4, 0, 0, 192), data),
			Redirect{Packet: []byte{0x45, 0, 0}}, true,
		},
		"in from another device": {
			logged(interfaceIndex(nfulaIndexIn, 8), out, data), Redirect{}, false,
		},
		"out of another device": {
			logged(in, interfaceIndex(nfulaIndexOut, 8), data), Redirect{}, false,
		},
		"not forwarded":        {logged(in, data), Redirect{}, false},
		"without a packet":     {logged(in, out), Redirect{}, false},
		"with an empty packet": {logged(in, out, loggedBytes()), Redirect{}, false},
		"with an index cut short": {
			logged(netlink.Attribute{Type: nfulaIndexIn, Data: []byte{7}}, out, data), Redirect{},
			false,
		},
		"a header only":      {logged(), Redirect{}, false},
		"a header cut short": {[]byte{2, 0, 0}, Redirect{}, false},
		"an attribute beyond the end": {
			append(logged(in, out, data), 200, 0, 9, 0), Redirect{}, false,
		},
		"an attribute without a length": {
			append(logged(in, out, data), 0, 0, 9, 0), Redirect{}, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := parseNFLOG(test.message, 7)
			if ok != test.ok {
				t.Fatalf("taken: %v, want %v", ok, test.ok)
			}
			if diff := cmp.Diff(test.want, got, cmp.Comparer(func(a, b netip.Addr) bool {
				return a == b
			})); ok && diff != "" {
				t.Errorf("redirect (-want +got):\n%s", diff)
			}
		})
	}
}

// The parser does not panic, however long the message is and whatever lengths its attributes claim.
func FuzzParseNFLOG(f *testing.F) {
	f.Add(logged(interfaceIndex(nfulaIndexIn, 7), interfaceIndex(nfulaIndexOut, 7),
		outerSource(0, 4, 0, 0, 192, 0, 2, 11, 0, 0, 0, 0), loggedBytes(0x45)))
	f.Add(logged(interfaceIndex(nfulaIndexIn, 7), loggedBytes()))
	f.Add([]byte{2, 0, 0, 16, 200, 0, 9, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := parseNFLOG(b, 7)
		if ok && (len(r.Packet) == 0 || len(r.Packet) > len(b)) {
			t.Errorf("a packet of %d bytes out of a message of %d", len(r.Packet), len(b))
		}
		if r.From.IsValid() && !r.From.Is4() {
			t.Errorf("source %v", r.From)
		}
	})
}

// Each tunnel has its own NFLOG group, which stays the same because a firewall rule names it.
func TestNFLOGGroup(t *testing.T) {
	devices := map[uint16]string{}
	for i := range 200 {
		device := fmt.Sprintf("gre%d", i)
		group := nflogGroup(device)
		if other, taken := devices[group]; taken || group < firstNFLOGGroup {
			t.Errorf("%s has the group %d, and so has %q", device, group, other)
		}
		devices[group] = device
	}
	if got := nflogGroup("gre1"); got != 46846 {
		t.Errorf("gre1 has the group %d, and had another one before: rules that are there do not fit any more", got)
	}
	cfg := Config{Device: "gre1"}
	cfg.setDefaults()
	if rule := nflogRule(cfg); !strings.Contains(rule, "--nflog-group 46846 ") {
		t.Errorf("the rule names another group: %s", rule)
	}
}

// The rule that the log shows names the device and its group.
func TestNFLOGRule(t *testing.T) {
	const want = "iptables -I FORWARD -i gre1 -o gre1 -m hashlimit --hashlimit-upto 1/second --hashlimit-burst 1 " +
		"--hashlimit-mode srcip,dstip --hashlimit-name gre1 -j NFLOG --nflog-group 5 --nflog-size 128"
	if got := nflogRule(Config{Device: "gre1", Group: 5}); got != want {
		t.Errorf("rule\n%s, want\n%s", got, want)
	}
}
