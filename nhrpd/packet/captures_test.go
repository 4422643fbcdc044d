package packet

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// captured reads testdata/captures, which has NHRP packets of FRR 8.4.4 in hexadecimal, each below
// a comment with the number and the outer addresses of its frame. The keys of the result are
// "file/frame N".
func captured(tb testing.TB) map[string][]byte {
	tb.Helper()
	files, err := filepath.Glob("testdata/captures/*.hex")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no captures: %v", err)
	}
	packets := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".hex") + "/"
		frame := ""
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			line := lines.Text()
			if comment, ok := strings.CutPrefix(line, "# "); ok {
				frame, _, _ = strings.Cut(comment, ":")
				continue
			}
			b, err := hex.DecodeString(line)
			if err != nil {
				tb.Fatalf("%s, %s: %v", file, frame, err)
			}
			packets[name+frame] = b
		}
	}
	return packets
}

// What Parse reads from a real peer's packet, Append writes back byte for byte.
func TestCapturedPacketsRoundTrip(t *testing.T) {
	packets := captured(t)
	if len(packets) != 28 {
		t.Errorf("%d captured packets, want 28", len(packets))
	}
	for name, b := range packets {
		t.Run(name, func(t *testing.T) {
			var p Packet
			if err := p.Parse(b); err != nil {
				t.Fatal(err)
			}
			got, err := p.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, b) {
				t.Errorf("append after parse:\n got %x\nwant %x", got, b)
			}
		})
	}
}

// Parse reads in FRR's packets what tshark reads in them.
func TestCapturedPackets(t *testing.T) {
	transit := []CIE{{HoldingTime: 60, NBMA: addr("192.0.2.1"), Protocol: addr("10.255.0.1")}}
	public := []CIE{{PrefixLength: 32, NBMA: addr("192.0.2.50"), Protocol: addr("10.255.0.11")}}
	tests := []struct {
		name string
		want Packet
	}{
		{"frr-8.4.4-hub-nat/frame 19", Packet{
			Type: TrafficIndication, HopCount: 1,
			SourceNBMA: addr("192.0.2.1"), SourceProtocol: addr("10.255.0.1"), DestProtocol: addr("172.16.1.1"),
		}},
		{"frr-8.4.4-hub-nat/frame 22", Packet{
			Type: ResolutionRequest, HopCount: 64, RequestID: 2,
			Flags: ResolutionRouter | ResolutionAuthoritative |
				ResolutionSourceStable | FlagNAT,
			SourceNBMA: addr("192.168.7.11"), SourceProtocol: addr("10.255.0.11"),
			DestProtocol: addr("172.16.2.1"),
			CIEs:         []CIE{{PrefixLength: 32, HoldingTime: 60}},
			Extensions: []Extension{
				{Type: ExtensionForwardTransit, Compulsory: true},
				{Type: ExtensionReverseTransit, Compulsory: true},
				{Type: ExtensionResponder, Compulsory: true},
				{Type: ExtensionNATAddress, CIEs: public},
			},
		}},
		{"frr-8.4.4-hub-nat/frame 28", Packet{
			Type: ResolutionReply, HopCount: 63, RequestID: 2,
			Flags: ResolutionRouter | ResolutionAuthoritative |
				ResolutionDestStable | ResolutionSourceStable,
			SourceNBMA: addr("192.0.2.12"), SourceProtocol: addr("10.255.0.12"),
			DestProtocol: addr("172.16.1.1"),
			CIEs: []CIE{
				{PrefixLength: 24, HoldingTime: 60, NBMA: addr("192.168.7.11"), Protocol: addr("10.255.0.11")},
			},
			Extensions: []Extension{
				{Type: ExtensionForwardTransit, Compulsory: true, CIEs: transit},
				{Type: ExtensionReverseTransit, Compulsory: true, CIEs: transit},
				{Type: ExtensionResponder, Compulsory: true,
					CIEs: []CIE{{HoldingTime: 60, NBMA: addr("192.168.7.11"), Protocol: addr("10.255.0.11")}}},
				{Type: ExtensionNATAddress, CIEs: public},
			},
		}},
		{"frr-8.4.4-hub-nat/frame 30", Packet{
			Type: RegistrationReply, HopCount: 64, RequestID: 3, Flags: FlagNAT,
			SourceNBMA: addr("192.168.7.11"), SourceProtocol: addr("10.255.0.11"),
			DestProtocol: addr("10.255.0.1"),
			CIEs:         []CIE{{PrefixLength: 32, HoldingTime: 60}},
			Extensions: []Extension{
				{Type: ExtensionForwardTransit, Compulsory: true},
				{Type: ExtensionReverseTransit, Compulsory: true},
				{Type: ExtensionResponder, Compulsory: true,
					CIEs: []CIE{{HoldingTime: 60, NBMA: addr("192.0.2.1"), Protocol: addr("10.255.0.1")}}},
				{Type: ExtensionNATAddress,
					CIEs: append([]CIE{{PrefixLength: 32, NBMA: addr("192.0.2.1"),
						Protocol: addr("10.255.0.1")}}, public...)},
			},
		}},
	}
	packets := captured(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got Packet
			if err := got.Parse(packets[test.name]); err != nil {
				t.Fatal(err)
			}
			quoted := got.Quoted
			got.Quoted = nil
			if diff := cmp.Diff(test.want, got, exported); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got.Type != TrafficIndication {
				return
			}
			inner, err := ParseInner(quoted)
			if err != nil {
				t.Fatal(err)
			}
			want := Inner{Source: addr("172.16.1.1"), Dest: addr("172.16.2.1"), Protocol: 1}
			if inner != want {
				t.Errorf("quoted %+v, want %+v", inner, want)
			}
		})
	}
}
