//go:build lab

package datapath

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/nhrpsocket"
)

// openSocket opens a Socket on a device in the given namespace ("": the test's own).
func openSocket(t testing.TB, namespace, device string, protocol uint16) *nhrpsocket.Socket {
	t.Helper()
	var s *nhrpsocket.Socket
	kerneltest.OnDevice(t, namespace, device, func(index int) (err error) {
		s, err = nhrpsocket.Listen(index, protocol)
		return err
	})
	t.Cleanup(func() { s.Close() })
	return s
}

// sendFrom sends packets from a socket to one NBMA address.
func sendFrom(t testing.TB, s *nhrpsocket.Socket, to netip.Addr, packets ...[]byte) {
	t.Helper()
	ms := make([]nhrpsocket.Message, len(packets))
	for i, p := range packets {
		ms[i] = nhrpsocket.Message{NBMA: to, Data: p}
	}
	if n, err := s.WriteBatch(ms); err != nil || n != len(ms) {
		t.Fatalf("sent %d of %d packets: %v", n, len(ms), err)
	}
}

// readNumbered reads count packets. The test ends if they are not the numbered packets from one
// peer, in order.
func readNumbered(t testing.TB, s *nhrpsocket.Socket, from netip.Addr, count int) {
	t.Helper()
	ms := make([]nhrpsocket.Message, 200)
	for seen := 0; seen < count; {
		n, err := s.ReadBatch(ms)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms[:n] {
			if m.NBMA != from || len(m.Data) != 120 ||
				binary.BigEndian.Uint32(m.Data) != uint32(seen) {
				t.Fatalf("packet %d: %d bytes from %v that begin with % x",
					seen, len(m.Data), m.NBMA, m.Data[:4])
			}
			seen++
		}
	}
}
