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

// monitorBuffer is a monitor's receive buffer in bytes, where its configuration names none.
const monitorBuffer = 8 << 20

// Notice is what a monitor saw. With lost, messages are missing before these, and what follows from
// them must be read anew.
type Notice struct {
	Messages []netlink.Message
	Lost     bool
}

// MonitorConfig says what to listen to: a netlink family, its multicast groups, and what of them
// the kernel shall hand over (nil: everything).
type MonitorConfig struct {
	Family int
	Groups []uint32
	Filter []bpf.Instruction
	Buffer int // bytes of the socket's receive buffer; 0: 8 MiB
}

// monitor delivers notifications until ctx ends, and opens its socket again when it fails. The
// first opening is done when it returns: a dump made after it misses nothing.
func monitor(ctx context.Context, log *slog.Logger, cfg MonitorConfig) (<-chan Notice, error) {
	conn, err := openMonitor(cfg)
	if err != nil {
		return nil, err
	}
	notices := make(chan Notice, 64)
	go func() {
		wait := schedule.NewBackoff(100*time.Millisecond, 30*time.Second)
		for ctx.Err() == nil {
			if conn != nil {
				readMonitor(ctx, conn, notices)
				conn.Close()
			}
			if ctx.Err() != nil || !wait.Sleep(ctx) {
				return
			}
			if conn, err = openMonitor(cfg); err != nil {
				log.Warn("cannot listen to the kernel's notifications, trying again", "error", err)
				continue
			}
			wait.Reset()
			deliver(ctx, notices, Notice{Lost: true})
		}
	}()
	return notices, nil
}

// Listen is monitor, tried again until it works, ctx ends, or trying is of no use.
func Listen(ctx context.Context, log *slog.Logger, cfg MonitorConfig) (<-chan Notice, error) {
	retry := schedule.NewBackoff(schedule.RetryFirst, schedule.RetryLimit)
	for {
		notices, err := monitor(ctx, log, cfg)
		if err == nil || Permanent(err) {
			return notices, err
		}
		log.Warn("cannot listen to the kernel's notifications, trying again", "error", err)
		if !retry.Sleep(ctx) {
			return nil, nil
		}
	}
}

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

// readMonitor reads until the socket fails or ctx ends. Lost messages (ENOBUFS) do not end it: the
// socket goes on.
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

func deliver(ctx context.Context, notices chan<- Notice, n Notice) bool {
	select {
	case notices <- n:
		return true
	case <-ctx.Done():
		return false
	}
}

// AsLoaded is what a BPF half-word load makes of a value that netlink holds in host byte order.
func AsLoaded(v uint16) uint32 {
	return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v)))
}
