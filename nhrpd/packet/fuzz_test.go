package packet

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// For any input from the network, Parse does not panic, and what it accepts Append writes back byte
// for byte. Each input is tried as it is and with its size and checksum corrected; without the
// correction nearly every input would fail at the checksum.
func FuzzParse(f *testing.F) {
	for _, test := range golden {
		f.Add(unhex(f, test.hex))
	}
	f.Add(unhex(f, openNHRPError))
	f.Add(unhex(f, frrIPv6Reply))
	var used Packet // a Packet that earlier inputs have filled
	f.Fuzz(func(t *testing.T, b []byte) {
		checkParse(t, &used, b)
		if len(b) < headerLen || len(b) > maxSize {
			return
		}
		checkParse(t, &used, seal(bytes.Clone(b)))
	})
}

func checkParse(t *testing.T, used *Packet, b []byte) {
	var p Packet
	quoted := p.ParseQuoted(b)
	err := p.Parse(b)
	if err == nil && quoted != nil {
		t.Fatalf("a whole packet, quoted: %v", quoted)
	}
	if reused := used.Parse(b); (err == nil) != (reused == nil) {
		t.Fatalf("fresh packet: %v, used packet: %v", err, reused)
	}
	if diff := cmp.Diff(p, *used, exported); diff != "" {
		t.Fatalf("a used packet keeps something of the last (-fresh +used):\n%s", diff)
	}
	if err != nil {
		var fault *ParseError
		if !errors.As(err, &fault) || int(fault.Offset) > len(b) || fault.Code == 0 ||
			fault.Error() == "" {
			t.Fatalf("error %v", err)
		}
		return
	}
	got, err := p.Append(nil)
	if err != nil {
		t.Fatalf("append after parse: %v", err)
	}
	if !bytes.HasPrefix(b, got) {
		t.Fatalf("append after parse:\n got %x\nfrom %x", got, b)
	}
	checkRebuilt(t, &p)
}

// checkRebuilt copies the exported fields of p into a packet built by hand. The copy must encode to
// a packet with the same meaning.
func checkRebuilt(t *testing.T, p *Packet) {
	cies := func(list []CIE) []CIE {
		var built []CIE
		for _, c := range list {
			c.PrefixOf(c.Protocol)
			c.addressBits, c.unused, c.received, c.foreign = 0, 0, 0, foreignAddresses{}
			built = append(built, c)
		}
		return built
	}
	built := *p
	built.nbmaLen, built.protocolLen, built.snap = 0, 0, [5]byte{}
	built.unused, built.received, built.afterEnd = 0, 0, nil
	built.memory = memory{}
	built.CIEs = cies(p.CIEs)
	built.Extensions = nil
	for _, e := range p.Extensions {
		e.received = 0
		e.CIEs = cies(e.CIEs)
		built.Extensions = append(built.Extensions, e)
		if pw, err := Password(e); err == nil {
			if diff := cmp.Diff(PasswordExtension(pw).Data, e.Data); diff != "" {
				t.Fatalf("password (-sent +received):\n%s", diff)
			}
		}
	}
	b, err := built.Append(nil)
	if err != nil {
		t.Fatalf("append of the rebuilt packet: %v", err)
	}
	var again Packet
	if err := again.Parse(b); err != nil {
		t.Fatalf("parse of the rebuilt packet: %v", err)
	}
	if diff := cmp.Diff(*p, again, exported); diff != "" {
		t.Fatalf("rebuilt packet (-want +got):\n%s", diff)
	}
}

// Quoted packets come from the network, too: ParseInner does not panic, and when it succeeds, both
// addresses are valid and of one family.
func FuzzInner(f *testing.F) {
	for name, b := range captured(f) {
		var p Packet
		if err := p.Parse(b); err != nil {
			f.Fatalf("%s: %v", name, err)
		}
		if p.Type == TrafficIndication {
			f.Add(p.Quoted)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := ParseInner(b)
		if err != nil {
			if in != (Inner{}) {
				t.Fatalf("%+v in spite of %v", in, err)
			}
			return
		}
		if !in.Source.IsValid() || in.Source.BitLen() != in.Dest.BitLen() {
			t.Fatalf("%+v", in)
		}
		if !in.Ports && (in.SourcePort != 0 || in.DestPort != 0) {
			t.Fatalf("ports that are not there: %+v", in)
		}
		// More bytes of the same packet give the same addresses.
		longer, err := ParseInner(append(bytes.Clone(b), make([]byte, 64)...))
		if err != nil || longer.Source != in.Source || longer.Dest != in.Dest {
			t.Fatalf("%+v, %v with more bytes, %+v without", longer, err, in)
		}
	})
}
