package kernel

import (
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

// monitorBuffer is a monitor's receive buffer. Tests make it small.
var monitorBuffer = 8 << 20

// notice is what a monitor saw. With lost, messages are missing before these, and what follows from them must be read anew.
type notice struct {
	messages []netlink.Message
	lost     bool
}

// monitorConfig says what to listen to: a netlink family, its multicast groups, and what of them the kernel shall hand over (nil:
// everything).
type monitorConfig struct {
	family int
	groups []uint32
	filter []bpf.Instruction
}

// monitor delivers notifications until ctx ends, and opens its socket again when it fails. The first opening is done when it
// returns: a dump made after it misses nothing.
func monitor(ctx context.Context, log *slog.Logger, cfg monitorConfig) (<-chan notice, error) {
	conn, err := openMonitor(cfg)
	if err != nil {
		return nil, err
	}
	notices := make(chan notice, 64)
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
			deliver(ctx, notices, notice{lost: true})
		}
	}()
	return notices, nil
}

// listen is monitor, tried again until it works, ctx ends, or trying is of no use.
func listen(ctx context.Context, log *slog.Logger, cfg monitorConfig) (<-chan notice, error) {
	retry := schedule.NewBackoff(schedule.RetryFirst, schedule.RetryLimit)
	for {
		notices, err := monitor(ctx, log, cfg)
		if err == nil || permanent(err) {
			return notices, err
		}
		log.Warn("cannot listen to the kernel's notifications, trying again", "error", err)
		if !retry.Sleep(ctx) {
			return nil, nil
		}
	}
}

func openMonitor(cfg monitorConfig) (*netlink.Conn, error) {
	conn, err := netlink.Dial(cfg.family, &netlink.Config{MessageBufferSize: messageBuffer})
	if err != nil {
		return nil, explain(err, "open a netlink socket")
	}
	if err := prepareMonitor(conn, cfg); err != nil {
		conn.Close()
		return nil, explain(err, "listen to netlink groups %v", cfg.groups)
	}
	return conn, nil
}

func prepareMonitor(conn *netlink.Conn, cfg monitorConfig) error {
	if err := conn.SetReadBuffer(monitorBuffer); err != nil {
		return err
	}
	if cfg.filter != nil {
		raw, err := bpf.Assemble(cfg.filter)
		if err != nil {
			return err
		}
		if err := conn.SetBPF(raw); err != nil {
			return err
		}
	}
	for _, group := range cfg.groups {
		if err := conn.JoinGroup(group); err != nil {
			return err
		}
	}
	return nil
}

// readMonitor reads until the socket fails or ctx ends. Lost messages (ENOBUFS) do not end it: the socket goes on.
func readMonitor(ctx context.Context, conn *netlink.Conn, notices chan<- notice) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	for {
		messages, err := conn.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		if !deliver(ctx, notices, notice{messages: messages, lost: err != nil}) {
			return
		}
	}
}

func deliver(ctx context.Context, notices chan<- notice, n notice) bool {
	select {
	case notices <- n:
		return true
	case <-ctx.Done():
		return false
	}
}

// asLoaded is what a BPF half-word load makes of a value that netlink holds in host byte order.
func asLoaded(v uint16) uint32 {
	return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v)))
}
