package rtnl

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"time"

	"cygnet/kernel/schedule"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// monitorBuffer is the size in bytes of a monitor's receive buffer if its configuration does not
// give one.
const monitorBuffer = 8 << 20

// Notice holds notifications that a monitor received in one read.
type Notice struct {
	Messages []netlink.Message

	// Lost reports whether notifications that came before these are lost. The receiver must then
	// read again whatever it follows by notifications.
	Lost bool
}

// MonitorConfig says which notifications a monitor receives.
type MonitorConfig struct {
	Family int               // the netlink family, unix.NETLINK_…
	Groups []uint32          // multicast groups of the family
	Filter []bpf.Instruction // which notifications the kernel hands over; nil: all of them
	Buffer int               // size in bytes of the socket's receive buffer; 0: 8 MiB
}

// monitor delivers notifications until ctx ends. If its socket fails, monitor opens another. The
// first socket is open when monitor returns, so a dump made after that misses no change.
func monitor(ctx context.Context, log *slog.Logger, cfg MonitorConfig) (<-chan Notice, error) {
	conn, err := openMonitor(cfg)
	if err != nil {
		return nil, err
	}
	notices := make(chan Notice, 64)
	go func() {
		backoff := schedule.Backoff()
		for ctx.Err() == nil {
			if conn != nil {
				readMonitor(ctx, conn, notices)
				conn.Close()
			}
			select {
			case <-time.After(backoff.NextBackOff()):
			case <-ctx.Done():
				return
			}
			if conn, err = openMonitor(cfg); err != nil {
				log.Warn("cannot listen to the kernel's notifications, trying again", "error", err)
				continue
			}
			backoff.Reset()
			deliver(ctx, notices, Notice{Lost: true})
		}
	}()
	return notices, nil
}

// Listen delivers notifications until ctx ends; the first socket is open when it returns, so a dump
// made after that misses no change. It tries again until it can listen. It returns an error only if
// trying again is useless (Permanent). It returns a nil channel and no error if ctx ends first.
func Listen(ctx context.Context, log *slog.Logger, cfg MonitorConfig) (<-chan Notice, error) {
	backoff := schedule.Backoff()
	for {
		notices, err := monitor(ctx, log, cfg)
		if err == nil || Permanent(err) {
			return notices, err
		}
		log.Warn("cannot listen to the kernel's notifications, trying again", "error", err)
		select {
		case <-time.After(backoff.NextBackOff()):
		case <-ctx.Done():
			return nil, nil
		}
	}
}

// openMonitor opens a socket that receives the notifications of cfg.
func openMonitor(cfg MonitorConfig) (*netlink.Conn, error) {
	conn, err := netlink.Dial(cfg.Family, &netlink.Config{MessageBufferSize: MessageBuffer})
	if err != nil {
		return nil, Explain(err, "open a netlink socket")
	}
	if err := prepareMonitor(conn, cfg); err != nil {
		conn.Close()
		return nil, Explain(err, "listen to netlink groups %v", cfg.Groups)
	}
	return conn, nil
}

// prepareMonitor sets the receive buffer and the filter before it joins the groups, so that they
// apply to the first notification already.
func prepareMonitor(conn *netlink.Conn, cfg MonitorConfig) error {
	if err := conn.SetReadBuffer(cmp.Or(cfg.Buffer, monitorBuffer)); err != nil {
		return err
	}
	if cfg.Filter != nil {
		raw, err := bpf.Assemble(cfg.Filter)
		if err != nil {
			return err
		}
		if err := conn.SetBPF(raw); err != nil {
			return err
		}
	}
	for _, group := range cfg.Groups {
		if err := conn.JoinGroup(group); err != nil {
			return err
		}
	}
	return nil
}

// readMonitor reads notifications until the socket fails or ctx ends. Lost notifications (ENOBUFS)
// are no failure: the socket still works.
func readMonitor(ctx context.Context, conn *netlink.Conn, notices chan<- Notice) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	for {
		messages, err := conn.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		if !deliver(ctx, notices, Notice{Messages: messages, Lost: err != nil}) {
			return
		}
	}
}

// deliver waits until the receiver takes n. It returns false if ctx ends first.
func deliver(ctx context.Context, notices chan<- Notice, n Notice) bool {
	select {
	case notices <- n:
		return true
	case <-ctx.Done():
		return false
	}
}

// AsLoaded returns the value that a BPF half-word load reads where netlink holds v in host byte
// order.
func AsLoaded(v uint16) uint32 {
	return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v)))
}
