package packet

import (
	"net/netip"
	"testing"
)

// The prefix lengths 0 and 0xff mean a single address (RFC 2332 §5.2.0.1). DMVPN routers send the
// full length for it, too.
func TestPrefixLength(t *testing.T) {
	v4, v6 := addr("10.1.2.3"), addr("2001:db8::1")
	tests := []struct {
		length uint8
		addr   netip.Addr
		host   bool
		prefix string // empty: not valid
	}{
		{0, v4, true, "10.1.2.3/32"},
		{255, v4, true, "10.1.2.3/32"},
		{32, v4, true, "10.1.2.3/32"},
		{31, v4, false, "10.1.2.2/31"},
		{8, v4, false, "10.0.0.0/8"},
		{1, v4, false, "0.0.0.0/1"},
		{33, v4, false, ""},
		{128, v4, false, ""},
		{254, v4, false, ""},
		{0, v6, true, "2001:db8::1/128"},
		{255, v6, true, "2001:db8::1/128"},
		{128, v6, true, "2001:db8::1/128"},
		{32, v6, false, "2001:db8::/32"},
		{127, v6, false, "2001:db8::/127"},
		{129, v6, false, ""},
		{24, netip.Addr{}, false, ""},
		{0, netip.Addr{}, true, ""},
	}
	for _, test := range tests {
		c := CIE{PrefixLength: test.length, Protocol: test.addr}
		if c.Host() != test.host {
			t.Errorf("host of %v/%d is %v", test.addr, test.length, c.Host())
		}
		prefix, ok := c.PrefixOf(test.addr)
		if ok != (test.prefix != "") || ok && prefix.String() != test.prefix {
			t.Errorf("prefix of %v/%d is %v, %v, want %q",
				test.addr, test.length, prefix, ok, test.prefix)
		}
	}
}

// A CIE without addresses is about the header's address, which tells the family of the overlay.
func TestHostWithoutAddress(t *testing.T) {
	tests := []struct {
		name   string
		source netip.Addr
		length uint8
		want   bool
	}{
		{"IPv4 /32", addr("10.0.0.1"), 32, true},
		{"IPv4 /128", addr("10.0.0.1"), 128, false},
		{"IPv6 /32", addr("2001:db8::1"), 32, false},
		{"IPv6 /128", addr("2001:db8::1"), 128, true},
	}
	for _, test := range tests {
		p := Packet{
			Type: RegistrationRequest, SourceProtocol: test.source,
			CIEs: []CIE{{PrefixLength: test.length}},
		}
		b, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var got Packet
		if err := got.Parse(b); err != nil {
			t.Fatal(err)
		}
		if got.CIEs[0].Host() != test.want {
			t.Errorf("%s: host is %v", test.name, !test.want)
		}
	}
	for _, length := range []uint8{32, 128} {
		if !(CIE{PrefixLength: length}).Host() {
			t.Errorf("/%d without any address is not a host", length)
		}
	}
}
