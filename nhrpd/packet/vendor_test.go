package packet

import (
	"net/netip"
	"slices"
	"testing"
)

// Our extension names an address of the sender of the other IP version, in requests and in replies
// to them.
func TestOtherNBMA(t *testing.T) {
	four, six := addr("192.0.2.11"), addr("2001:db8::11")
	for _, tt := range []struct {
		name string
		of   Type
		from netip.Addr
		data string
		want netip.Addr
	}{
		{"requester, offers probes", ResolutionRequest, six, "024359 01 c000020b", four},
		{"requester", ResolutionRequest, four, "024359 05 20010db8000000000000000000000011", six},
		{"registration", RegistrationRequest, six, "024359 05 c000020b", four},
		{"responder, answers probes", ResolutionReply, six, "024359 02 c000020b", four},
		{"responder", ResolutionReply, six, "024359 06 c000020b", four},
		{"no address", ResolutionRequest, six, "024359 01", netip.Addr{}},
		{"what the requester said, in a reply", ResolutionReply, six, "024359 05 c000020b",
			netip.Addr{}},
		{"what a responder says, in a request", ResolutionRequest, six, "024359 06 c000020b",
			netip.Addr{}},
		{"a probe has zeros there", ResolutionRequest, six, "024359 03 00000000", netip.Addr{}},
		{"an unknown kind", ResolutionRequest, six, "024359 07 c000020b", netip.Addr{}},
		{"too short", ResolutionRequest, six, "024359 05 c00002", netip.Addr{}},
		{"too long", ResolutionRequest, six, "024359 05 c000020b00", netip.Addr{}},
		{"the packet's own IP version", ResolutionRequest, four, "024359 05 c000020b",
			netip.Addr{}},
		{"IPv4 as IPv6", ResolutionRequest, four,
			"024359 05 00000000000000000000ffffc000020b", netip.Addr{}},
		{"another vendor's", ResolutionRequest, six, "00000c 05 c000020b", netip.Addr{}},
		{"no kind", ResolutionRequest, six, "024359", netip.Addr{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Packet{Type: tt.of, SourceNBMA: tt.from,
				Extensions: []Extension{{Type: ExtensionVendor, Data: unhex(t, tt.data)}}}
			if got := p.OtherNBMA(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	want := unhex(t, "024359 05 c000020b")
	if got := VendorData(VendorRequester, four); !slices.Equal(got, want) {
		t.Errorf("wrote %x", got)
	}
	if got := VendorData(VendorOffer, netip.Addr{}); !slices.Equal(got, unhex(t, "024359 01")) {
		t.Errorf("wrote %x", got)
	}
}
