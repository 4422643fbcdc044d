package packet

import (
	"fmt"
	"slices"
	"testing"
)

// parsed returns the golden packets, each both as bytes and as Parse reads it.
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

// A daemon handles thousands of packets a second, so parsing and encoding them must produce no
// garbage.
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
	indication := slices.IndexFunc(packets,
		func(p Packet) bool { return p.Type == TrafficIndication })
	quoted := packets[indication].Quoted
	if n := testing.AllocsPerRun(100, func() {
		if _, err := ParseInner(quoted); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("inner: %v allocations", n)
	}
}

// A slice that a caller puts into a packet belongs to the caller: the next Parse leaves it alone.
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
}

// A transit NHS appends its record to a list of CIEs that Parse returned. That must not overwrite
// the CIEs of the next extension, which lie behind it in memory.
func TestAppendingToAParsedList(t *testing.T) {
	b := captured(t)["frr-8.4.4-hub-nat/frame 28"]
	var p Packet
	for range 2 { // the second Parse puts all lists into one piece of memory
		if err := p.Parse(b); err != nil {
			t.Fatal(err)
		}
	}
	forward, reverse := p.Extension(ExtensionForwardTransit), p.Extension(ExtensionReverseTransit)
	before := reverse.CIEs[0].NBMA
	forward.CIEs = append(forward.CIEs, CIE{
		NBMA: addr("192.0.2.99"), Protocol: addr("10.255.0.99"),
	})
	p.Extensions = append(p.Extensions, Extension{Type: ExtensionVendor, Data: []byte{0, 0, 12}})
	p.CIEs = append(p.CIEs, CIE{NBMA: addr("192.0.2.98")})
	if reverse.CIEs[0].NBMA != before ||
		p.Extension(ExtensionForwardTransit).CIEs[0].NBMA != addr("192.0.2.1") {
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

// No slice that Parse returns has spare capacity, so an append never writes into the input or into
// p's memory.
func TestParsedSlicesHaveNoRoom(t *testing.T) {
	var p Packet
	full := func(name, what string, length, capacity int) {
		if length != capacity {
			t.Errorf("%s: %s of %d has room for %d", name, what, length, capacity)
		}
	}
	for range 2 {
		for _, test := range golden {
			if err := p.Parse(unhex(t, test.hex)); err != nil {
				t.Fatal(err)
			}
			full(test.name, "CIEs", len(p.CIEs), cap(p.CIEs))
			full(test.name, "quoted", len(p.Quoted), cap(p.Quoted))
			full(test.name, "subaddress", len(p.SourceSubaddress), cap(p.SourceSubaddress))
			full(test.name, "extensions", len(p.Extensions), cap(p.Extensions))
			for _, e := range p.Extensions {
				full(test.name, "data", len(e.Data), cap(e.Data))
				full(test.name, "extension's CIEs", len(e.CIEs), cap(e.CIEs))
			}
		}
	}
}

// p's memory grows to what the largest packet needs, however many packets follow.
func TestMemoryIsBounded(t *testing.T) {
	input, _ := parsed(t)
	var p Packet
	for range 1000 {
		for _, b := range input {
			if err := p.Parse(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	if cap(p.memory.cies) > 8 || cap(p.memory.extensions) > 8 {
		t.Errorf("memory for %d CIEs and %d extensions",
			cap(p.memory.cies), cap(p.memory.extensions))
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

// An attacker can send damaged and malformed packets, so refusing one must be cheap.
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
