package packet

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A sender recognises its packet in a quotation that is complete, that is cut off after the
// addresses, or that a router on the way has changed.
func TestParseQuoted(t *testing.T) {
	want := golden[0].want
	want.CIEs, want.Extensions = nil, nil
	whole := unhex(t, golden[0].hex)
	changed := unhex(t, golden[0].hex)
	changed[offHopCount]--
	lessHops := want
	lessHops.HopCount--
	tests := []struct {
		name string
		b    []byte
		want Packet
	}{
		{"whole", whole, want},
		{"cut off", whole[:0x28], want},
		{"hop count without checksum", changed, lessHops},
	}
	for _, test := range tests {
		var got Packet
		if err := got.ParseQuoted(test.b); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(test.want, got, exported); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// No Error Indication is answered with another (RFC 2332 §5.2.7), whatever is wrong with it.
func TestParseQuotedMalformed(t *testing.T) {
	whole := unhex(t, golden[0].hex)
	other := unhex(t, golden[0].hex)
	other[offVersion] = 2
	tests := []struct {
		name   string
		b      []byte
		offset uint16
	}{
		{"nothing", nil, 0},
		{"cut off in the header", whole[:0x1b], 0x1b},
		{"cut off in the addresses", whole[:0x27], offSourceLen},
		{"another version", other, offVersion},
	}
	for _, test := range tests {
		var got Packet
		var fault *ParseError
		if err := got.ParseQuoted(test.b); !errors.As(err, &fault) || fault.Offset != test.offset ||
			fault.Answerable() {
			t.Errorf("%s: error %v, want one at offset %d that is not answerable",
				test.name, err, test.offset)
		}
	}
}
