// Package ikeprobe finds out whether an IKE daemon answers at an address over one device, without
// an IKE_SA.
//
// A probe is the header of an IKE message with a major version that does not exist. RFC 7296 §2.5
// has the responder drop such a message and send a notification INVALID_MAJOR_VERSION. The
// responder keeps no state for it, and needs no cryptography. The notification is not
// authenticated: an answer proves that packets pass both ways, not who answered.
package ikeprobe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// port is where IKE daemons listen (RFC 7296 §2).
const port = 500

// The header of an IKE message (RFC 7296 §3.1).
const (
	headerLen    = 28
	spiLen       = 8
	version      = 3 << 4 // the major version; IKE's own are 1 and 2
	ikeSAInit    = 34     // exchange type
	fromBeginner = 0x08   // flag: the message is from the original initiator
)

// spi identifies a probe: it is the initiator's SPI in the header, which the answer repeats.
type spi [spiLen]byte

// message returns the probe with an SPI.
func (s spi) message() []byte {
	m := make([]byte, headerLen)
	copy(m, s[:])
	m[17], m[18], m[19] = version, ikeSAInit, fromBeginner
	binary.BigEndian.PutUint32(m[24:], headerLen)
	return m
}

// Prober sends probes over one device. Its methods may be called at the same time.
type Prober struct {
	conn *net.UDPConn
	spi  spi // of all probes of this Prober
}

// Open returns a Prober that sends from a local address over a device. The caller closes it.
func Open(device string, local netip.Addr) (*Prober, error) {
	p := &Prober{}
	if _, err := rand.Read(p.spi[:]); err != nil {
		return nil, fmt.Errorf("choose the SPI of probes: %w", err)
	}
	listen := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var bound error
		err := raw.Control(func(fd uintptr) {
			bound = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, device)
		})
		return errors.Join(err, bound)
	}}
	conn, err := listen.ListenPacket(context.Background(), "udp",
		netip.AddrPortFrom(local, 0).String())
	if err != nil {
		return nil, fmt.Errorf("open a socket for probes on %s: %w", device, err)
	}
	p.conn = conn.(*net.UDPConn)
	return p, nil
}

// Close ends the Prober, and a Receive that is under way.
func (p *Prober) Close() error { return p.conn.Close() }

// Send sends a probe to an address.
func (p *Prober) Send(to netip.Addr) error {
	_, err := p.conn.WriteToUDPAddrPort(p.spi.message(), netip.AddrPortFrom(to, port))
	if err != nil {
		return fmt.Errorf("send a probe to %s: %w", to, err)
	}
	return nil
}

// Receive waits for the next answer to a probe and returns its sender. Packets that answer no probe
// of this Prober are dropped. Receive returns net.ErrClosed after Close.
func (p *Prober) Receive() (netip.Addr, error) {
	buf := make([]byte, 1500)
	for {
		n, from, err := p.conn.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return netip.Addr{}, net.ErrClosed
		case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EHOSTUNREACH),
			errors.Is(err, unix.ENETUNREACH):
			continue // an ICMP error for an earlier probe: there is no answer to it
		case err != nil:
			return netip.Addr{}, fmt.Errorf("receive answers to probes: %w", err)
		case p.spi.answeredBy(buf[:n]) && from.Port() == port:
			return from.Addr().Unmap(), nil
		}
	}
}

// answeredBy reports whether a packet answers a probe: it is an IKE message with the probe's SPI,
// whatever else is in it.
func (s spi) answeredBy(packet []byte) bool {
	return len(packet) >= headerLen && spi(packet[:spiLen]) == s &&
		binary.BigEndian.Uint32(packet[24:]) == uint32(len(packet))
}
