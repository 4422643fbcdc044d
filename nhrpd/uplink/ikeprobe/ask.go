package ikeprobe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// PortNAT is where IKE daemons listen for IKE and ESP in UDP, once NAT is seen (RFC 3948).
const PortNAT = 4500

// PortIKE is where IKE daemons listen at first.
const PortIKE = port

// marker precedes an IKE message at PortNAT, where ESP would have its SPI (RFC 3948 §2.2).
var marker = [4]byte{}

// Outcome is what came of asking a port.
type Outcome string

// The outcomes.
const (
	Answered    Outcome = "answered"    // an IKE daemon is there, and packets pass both ways
	Silent      Outcome = "silent"      // nothing came back
	Refused     Outcome = "refused"     // ICMP: nobody listens at the port
	Unreachable Outcome = "unreachable" // ICMP, or this host has no route
	Failed      Outcome = "failed"      // the probe could not be sent
)

// askInterval is how long Ask waits for an answer before it asks again.
const askInterval = time.Second

// Ask asks one port of an address whether an IKE daemon listens there, every second until an answer
// comes or the context ends. It sends from a port that the kernel chooses. device may be empty and
// local the zero address: the kernel's routes decide then. The duration is that of the round trip,
// if there was an answer; the error says more if the outcome is neither Answered nor Silent.
func Ask(
	ctx context.Context, device string, local netip.Addr, to netip.AddrPort,
) (Outcome, time.Duration, error) {
	var id spi
	if _, err := rand.Read(id[:]); err != nil {
		return Failed, 0, fmt.Errorf("choose the SPI of probes: %w", err)
	}
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		return errors.Join(raw.Control(func(fd uintptr) {
			if device != "" {
				err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, device)
			}
		}), err)
	}}
	if local.IsValid() {
		dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	// A connected socket gets the ICMP errors for what it sends.
	conn, err := dialer.DialContext(ctx, "udp", to.String())
	switch {
	case err != nil && ctx.Err() != nil:
		return Silent, 0, nil
	case err != nil:
		return outcomeOf(err), 0, fmt.Errorf("open a socket for probes to %s: %w", to, err)
	}
	defer conn.Close()
	for ctx.Err() == nil {
		sent := time.Now()
		outcome, err := askOnce(ctx, conn, id, to)
		if outcome != Silent {
			return outcome, time.Since(sent), err
		}
	}
	return Silent, 0, nil
}

// askOnce sends one probe and waits for its answer.
func askOnce(ctx context.Context, conn net.Conn, id spi, to netip.AddrPort) (Outcome, error) {
	until := time.Now().Add(askInterval)
	if end, ok := ctx.Deadline(); ok && end.Before(until) {
		until = end
	}
	if err := conn.SetReadDeadline(until); err != nil {
		return Failed, fmt.Errorf("wait for an answer of %s: %w", to, err)
	}
	if _, err := conn.Write(id.messageFor(to.Port())); err != nil {
		return outcomeOf(err), fmt.Errorf("send a probe to %s: %w", to, err)
	}
	buf := make([]byte, 1500)
	for {
		n, err := conn.Read(buf)
		switch {
		case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
			return Silent, nil
		case err != nil:
			return outcomeOf(err), fmt.Errorf("wait for an answer of %s: %w", to, err)
		case id.answers(buf[:n], to.Port()):
			return Answered, nil
		}
	}
}

// isTimeout reports whether an error says that the deadline for reading is over.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// outcomeOf returns what an error of a socket says about the way.
func outcomeOf(err error) Outcome {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return Refused
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH),
		errors.Is(err, unix.EACCES):
		return Unreachable
	}
	return Failed
}

// messageFor returns the probe for a port.
func (s spi) messageFor(port uint16) []byte {
	if port == PortNAT {
		return append(marker[:], s.message()...)
	}
	return s.message()
}

// answers reports whether a packet from a port answers the probe.
func (s spi) answers(packet []byte, port uint16) bool {
	if port != PortNAT {
		return s.answeredBy(packet)
	}
	return len(packet) >= len(marker) && [4]byte(packet[:4]) == marker && s.answeredBy(packet[4:])
}
