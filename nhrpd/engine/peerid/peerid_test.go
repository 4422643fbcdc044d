package peerid

import (
	"math"
	"net/netip"
	"slices"
	"testing"
)

// Each kind of ID has its own answers, and the zero ID has none.
func TestKinds(t *testing.T) {
	address := netip.MustParseAddr("192.0.2.11")
	for _, tt := range []struct {
		id            ID
		address       netip.Addr
		mark, parking uint32
		valid, shares bool
		text          string
	}{
		{id: ID{}, text: "no peer"},
		{id: At(netip.Addr{}), text: "no peer"},
		{id: Marked(0), text: "no peer"},
		{id: Parked(0), text: "no peer"},
		{id: At(address), address: address, valid: true, text: "192.0.2.11"},
		{
			id:      At(netip.MustParseAddr("2001:db8::1")),
			address: netip.MustParseAddr("2001:db8::1"),
			valid:   true,
			text:    "2001:db8::1",
		},
		{
			id:      At(netip.MustParseAddr("0.0.0.5")), // an address like any other
			address: netip.MustParseAddr("0.0.0.5"),
			valid:   true,
			text:    "0.0.0.5",
		},
		{id: Marked(5), mark: 5, valid: true, shares: true, text: "mark 5"},
		{
			id:     Marked(math.MaxUint32),
			mark:   math.MaxUint32,
			valid:  true,
			shares: true,
			text:   "mark 4294967295",
		},
		{id: Parked(5), parking: 5, valid: true, shares: true, text: "parked 5"},
		{
			id:      Parked(math.MaxUint32),
			parking: math.MaxUint32,
			valid:   true,
			shares:  true,
			text:    "parked 4294967295",
		},
	} {
		if tt.id.IsValid() != tt.valid || tt.id.Shares() != tt.shares {
			t.Errorf("%s: valid %t, shares its address %t; want %t and %t",
				tt.text, tt.id.IsValid(), tt.id.Shares(), tt.valid, tt.shares)
		}
		if got := tt.id.Address(); got != tt.address {
			t.Errorf("%s: the address is %v, want %v", tt.text, got, tt.address)
		}
		if got, is := tt.id.Mark(); got != tt.mark || is != (tt.mark != 0) {
			t.Errorf("%s: the mark is %d (%t), want %d", tt.text, got, is, tt.mark)
		}
		if got, is := tt.id.Parking(); got != tt.parking || is != (tt.parking != 0) ||
			is != tt.id.IsParked() {
			t.Errorf("%s: the parked peer's number is %d (%t), want %d",
				tt.text, got, is, tt.parking)
		}
		if got := tt.id.String(); got != tt.text {
			t.Errorf("the text is %q, want %q", got, tt.text)
		}
	}
}

// IDs that were made in the same way are equal, and all others differ.
func TestOrder(t *testing.T) {
	list := func() []ID {
		return []ID{
			{},
			Marked(1), Marked(2), Marked(math.MaxUint32),
			Parked(1), Parked(2), Parked(math.MaxUint32),
			At(netip.MustParseAddr("0.0.0.1")),
			At(netip.MustParseAddr("192.0.2.1")),
			At(netip.MustParseAddr("192.0.2.2")),
			At(netip.MustParseAddr("2001:db8::1")),
		}
	}
	want := list()
	for i, a := range list() {
		for j, b := range want {
			got := a.Compare(b)
			if got != sign(i-j) || (a == b) != (i == j) {
				t.Errorf("%s and %s compare as %d and are equal: %t; want %d",
					a, b, got, a == b, sign(i-j))
			}
		}
	}
	mixed := list()
	slices.Reverse(mixed)
	slices.SortFunc(mixed, ID.Compare)
	if !slices.Equal(mixed, want) {
		t.Errorf("sorted are %v, want %v", mixed, want)
	}
}

// sign returns -1, 0 or 1.
func sign(n int) int { return max(-1, min(1, n)) }
