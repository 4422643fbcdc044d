package vici

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// An attempt that fails closes its connection, whether charon ends it at once or half-way through
// a packet.
func TestFailuresCloseTheirConnection(t *testing.T) {
	for name, answer := range map[string][]byte{
		"charon hangs up":              nil,
		"charon sends half a packet":   {0, 0, 0, 9, 1},
		"charon sends what is no VICI": {0, 0, 0, 1, 99},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "vici")
			listener, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			ended := make(chan struct{}, 1)
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					_, _ = conn.Write(answer)
					if answer != nil {
						_ = conn.(*net.UnixConn).CloseWrite()
						buffer := make([]byte, 1024)
						for err == nil {
							_, err = conn.Read(buffer)
						}
					}
					_ = conn.Close()
					ended <- struct{}{}
				}
			}()
			before := openFiles(t)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := Abandon(ctx, socket, func(string) bool { return true }); err == nil {
				t.Error("Abandon: no error")
			}
			select { // what was opened is closed at this end: the other end read until then
			case <-ended:
			case <-ctx.Done():
				t.Fatalf("a connection stays open: %d descriptors, %d before", openFiles(t), before)
			}
		})
	}
}

// openFiles counts the open descriptors of this process.
func openFiles(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}
