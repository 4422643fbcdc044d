package packet

import (
	"fmt"
	"testing"
)

// parsed are the golden packets as bytes and as parsed.
func parsed(tb testing.TB) ([][]byte, []Packet) {
	packets := make([]Packet, len(golden))
	var input [][]byte
	for i, test := range golden {
		input = append(input, unhex(tb, test.hex))
		if err := packets[i].Parse(input[i]); err != nil {
			tb.Fatal(err)
		}
	}
	return input, packets
}

// A daemon that sees thousands of packets a second makes no garbage of them.
func TestNoAllocationInSteadyState(t *testing.T) {
	input, packets := parsed(t)
	var p Packet
	parse := func() {
		for _, b := range input {
			if err := p.Parse(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := testing.AllocsPerRun(100, parse); n != 0 {
		t.Errorf("parse: %v allocations", n)
	}
	buf := make([]byte, 0, maxSize)
	send := func() {
		for i := range packets {
			if _, err := packets[i].Append(buf); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := testing.AllocsPerRun(100, send); n != 0 {
		t.Errorf("append: %v allocations", n)
	}
	quoted := packets[7].Quoted
	if n := testing.AllocsPerRun(100, func() {
		if _, err := ParseInner(quoted); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("inner: %v allocations", n)
	}
}

// A slice that a caller puts into a packet is the caller's: the next Parse leaves it alone.
func TestParseLeavesForeignSlicesAlone(t *testing.T) {
	input, _ := parsed(t)
	mine := []CIE{{Preference: 99}, {Preference: 98}}
	var p Packet
	if err := p.Parse(input[3]); err != nil {
		t.Fatal(err)
	}
	p.CIEs = mine
	p.Extensions = []Extension{{Type: ExtensionResponder, CIEs: mine}}
	if err := p.Parse(input[3]); err != nil {
		t.Fatal(err)
	}
	if mine[0].Preference != 99 || mine[1].Preference != 98 {
		t.Errorf("overwritten: %+v", mine)
	}
	grown := append(p.CIEs[:1:1], CIE{Preference: 97})
	if p.CIEs[1].Preference == 97 || len(grown) != 2 {
		t.Error("a shorter list grows into the next entry")
	}
}

// A transit NHS appends its record to a parsed list; the entries of the following extension are not its room.
func TestAppendingToAParsedList(t *testing.T) {
	b := captured(t)["frr-8.4.4-hub-nat/frame 28"]
	var p Packet
	if err := p.Parse(b); err != nil {
		t.Fatal(err)
	}
	forward, reverse := p.Extension(ExtensionForwardTransit), p.Extension(ExtensionReverseTransit)
	before := reverse.CIEs[0].NBMA
	forward.CIEs = append(forward.CIEs, CIE{NBMA: addr("192.0.2.99"), Protocol: addr("10.255.0.99")})
	p.Extensions = append(p.Extensions, Extension{Type: ExtensionVendor, Data: []byte{0, 0, 12}})
	p.CIEs = append(p.CIEs, CIE{NBMA: addr("192.0.2.98")})
	if reverse.CIEs[0].NBMA != before || p.Extension(ExtensionForwardTransit).CIEs[0].NBMA != addr("192.0.2.1") {
		t.Error("appending to one list has changed another")
	}
	out, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(b) + 20 + 7 + 16; len(out) != want {
		t.Errorf("%d bytes, want %d", len(out), want)
	}
}

func BenchmarkParse(b *testing.B) {
	input, _ := parsed(b)
	for i, test := range golden[:4] {
		b.Run(fmt.Sprint(test.want.Type), func(b *testing.B) {
			b.ReportAllocs()
			var p Packet
			for b.Loop() {
				if err := p.Parse(input[i]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	_, packets := parsed(b)
	buf := make([]byte, 0, maxSize)
	for i, test := range golden[:4] {
		b.Run(fmt.Sprint(test.want.Type), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := packets[i].Append(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Damaged and malformed packets cost an attacker's victim little.
func BenchmarkParseMalformed(b *testing.B) {
	input, _ := parsed(b)
	input[0][0x43]++
	bad := seal(input[0])
	var p Packet
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Parse(bad); err == nil {
			b.Fatal("no error")
		}
	}
}
