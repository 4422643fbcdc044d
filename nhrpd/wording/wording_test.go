package wording

import (
	"net/netip"
	"testing"
	"time"
)

// Times are shown as distances from now, in two units.
func TestWhen(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		t    time.Time
		want string
	}{
		{time.Time{}, ""},
		{now, "0s ago"},
		{now.Add(-4 * time.Second), "4s ago"},
		{now.Add(-400 * time.Millisecond), "0s ago"},
		{now.Add(192 * time.Second), "in 3m12s"},
		{now.Add(59*time.Second + 600*time.Millisecond), "in 1m0s"},
		{now.Add(2*time.Hour + 5*time.Minute + 59*time.Second), "in 2h5m"},
		{now.Add(-99 * time.Hour), "4d3h ago"},
	} {
		if got := When(test.t, now); got != test.want {
			t.Errorf("When(%v) = %q, want %q", test.t, got, test.want)
		}
	}
}

// Sizes are shown in binary units with one decimal.
func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB",
		5 << 30: "5.0 GiB", 1<<64 - 1: "16.0 EiB",
	} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
}

// One packet is not "1 packets".
func TestPackets(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 packets", 1: "1 packet", 2: "2 packets"} {
		if got := Packets(n); got != want {
			t.Errorf("Packets(%d) = %q, want %q", n, got, want)
		}
	}
}

// A place names the mark of a peer whose address others have too. Places are in the order of
// addresses, then of marks.
func TestPlace(t *testing.T) {
	at := netip.MustParseAddr("203.0.113.12")
	if got := At(at, 0).String(); got != "203.0.113.12" {
		t.Errorf("without a mark it is %q", got)
	}
	if got := At(at, 7).String(); got != "203.0.113.12, mark 7" {
		t.Errorf("with a mark it is %q", got)
	}
	if At(at, 7).Compare(At(at, 8)) >= 0 || At(at, 9).Compare(At(at.Next(), 1)) >= 0 {
		t.Error("places are not in the order of addresses, then of marks")
	}
	if At(netip.Addr{}, 7).IsValid() {
		t.Error("a place without an address is valid")
	}
}

// Prefixes in reserve come last and are marked.
func TestPrefixes(t *testing.T) {
	one, two := netip.MustParsePrefix("172.16.1.0/24"), netip.MustParsePrefix("172.16.2.0/24")
	got := Prefixes([]netip.Prefix{one}, []netip.Prefix{two})
	if want := "172.16.1.0/24 172.16.2.0/24 (reserve)"; got != want {
		t.Errorf("they read %q, want %q", got, want)
	}
}

// Which router is behind NAT is named from this one.
func TestNAT(t *testing.T) {
	for at, want := range map[[2]bool]string{
		{true, true}: "both", {true, false}: "here", {false, true}: "there", {}: "",
	} {
		if got := NAT(at[0], at[1]); got != want {
			t.Errorf("here %v, there %v: %q, want %q", at[0], at[1], got, want)
		}
	}
}
