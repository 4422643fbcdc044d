package session

import (
	"net"
	"strings"
	"testing"
)

// What is no VICI does not make the client allocate what a length claims, and the error says where
// to look.
func TestNotVICI(t *testing.T) {
	for name, head := range map[string][]byte{"empty frame": {0, 0, 0, 0},
		"huge frame": {0xff, 0xff, 0xff, 0xff}, "HTTP": []byte("HTTP/1.1 400")} {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = ours.Write(head)
			_ = ours.Close()
		}()
		_, err := newFrameConn(theirs).Read(make([]byte, 4))
		if err == nil || !strings.Contains(err.Error(), "is this charon's VICI socket?") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
