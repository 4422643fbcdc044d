package packet

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// captured reads testdata/captures: NHRP packets of FRR 8.4.4 as hex, each under a comment with its frame's number and outer addresses.
// The result is keyed by "file/frame N".
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

// What Parse takes from a real peer, Append gives back byte for byte.
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
