package ikeprobe

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"
)

// respond answers probes at a socket as charon does, from the second one on, after a packet that is
// no answer.
func respond(conn *net.UDPConn) {
	buf := make([]byte, 1500)
	for asked := 0; ; asked++ {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if asked == 0 {
			conn.WriteToUDPAddrPort([]byte("something else"), from)
			continue
		}
		answer := append([]byte(nil), buf[:n]...)
		answer[19] = 0x20
		conn.WriteToUDPAddrPort(answer, from)
	}
}

// A port that answers, one that is silent and one at which nobody listens are told apart. A probe
// that gets no answer is sent again.
func TestAsk(t *testing.T) {
	local := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	taken := func(conn *net.UDPConn, err error) (*net.UDPConn, netip.AddrPort) {
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	answering, there := taken(net.ListenUDP("udp", local))
	go respond(answering)
	deaf, silent := taken(net.ListenUDP("udp", local))
	heard, end := context.WithCancel(t.Context())
	defer end()
	go func() {
		deaf.ReadFromUDPAddrPort(make([]byte, 1500))
		end() // only now: a context that ends before the probe leaves would be another case
	}()
	// A socket with a peer takes packets from that peer only. So nobody listens for others at its
	// port, and no other program can take the port.
	_, gone := taken(net.DialUDP("udp", local, &net.UDPAddr{IP: local.IP, Port: 1}))
	for _, test := range []struct {
		to   netip.AddrPort
		ctx  context.Context
		want Outcome
	}{
		{there, t.Context(), Answered},
		{silent, heard, Silent},
		{gone, t.Context(), Refused},
	} {
		ctx, cancel := context.WithTimeout(test.ctx, time.Minute)
		have, took, err := Ask(ctx, "", netip.MustParseAddr("127.0.0.1"), test.to)
		cancel()
		if have != test.want || (err != nil) != (have == Refused) ||
			(took > 0) != (have != Silent) {
			t.Errorf("%s: want %s, have %s, %v, %v", test.to, test.want, have, took, err)
		}
	}
}

// At port 4500 four bytes of zero come before a probe and before its answer.
func TestMarker(t *testing.T) {
	s := spi{1, 2, 3, 4, 5, 6, 7, 8}
	plain, marked := s.messageFor(PortIKE), s.messageFor(PortNAT)
	for _, test := range []struct {
		packet []byte
		port   uint16
		want   bool
	}{
		{plain, PortIKE, true},
		{marked, PortIKE, false},
		{marked, PortNAT, true},
		{plain, PortNAT, false},
		{marked[:3], PortNAT, false},
		{nil, PortNAT, false},
	} {
		if have := s.answers(test.packet, test.port); have != test.want {
			t.Errorf("%x from port %d: want %v, have %v", test.packet, test.port, test.want, have)
		}
	}
}
