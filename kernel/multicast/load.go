package multicast

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"cygnet/kernel/datapath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
)

// loaded is what the kernel has taken: programs and tables.
type loaded struct {
	objects bpfObjects
	lists   lists
	outer   *ebpf.Map // see barrier
	inner   *ebpf.Map
}

// load loads the programs and tables into the kernel. sent is the data path's table.
func load(cfg *Config, sent *ebpf.Map) (*loaded, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, err
	}
	settings := []struct {
		variable string
		value    any
	}{
		{bpfVarInstance, newInstance()},
		{bpfVarListSize, uint32(cfg.MaxPeers)},
		{bpfVarRelay, byteOf(cfg.Relay)},
		{bpfVarPacketCost, cost(cfg.Rate.Packets)},
		{bpfVarPacketBurst, burst(cfg.Rate.Packets)},
		{bpfVarByteCost, cost(cfg.Rate.Bytes)},
		{bpfVarByteBurst, burst(cfg.Rate.Bytes)},
	}
	for _, s := range settings {
		if err := spec.Variables[s.variable].Set(s.value); err != nil {
			return nil, fmt.Errorf("set %s: %w", s.variable, err)
		}
	}
	spec.Maps[bpfMapLists].MaxEntries = uint32(2 * cfg.MaxPeers)
	spec.Maps[bpfMapSentTo].MaxEntries = sent.MaxEntries()
	// Before Linux 5.11 maps count against this limit. If the limit cannot be raised, and that
	// matters, loading returns an error.
	_ = rlimit.RemoveMemlock()
	l := &loaded{lists: lists{size: uint32(cfg.MaxPeers)}}
	options := &ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{bpfMapSentTo: sent}}
	if err := spec.LoadAndAssign(&l.objects, options); err != nil {
		return nil, fmt.Errorf("load the programs that replicate: %w", err)
	}
	if err := l.makeBarrier(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// Probe loads the programs and tables, and releases them. It returns an error if the kernel does
// not take them.
func Probe() error {
	spec, err := loadBpf()
	if err != nil {
		return err
	}
	sent, err := ebpf.NewMap(spec.Maps[bpfMapSentTo])
	if err != nil {
		return fmt.Errorf("make a table: %w", err)
	}
	defer sent.Close()
	l, err := load(&Config{MaxPeers: defaultPeers}, sent)
	if err != nil {
		return err
	}
	return l.close()
}

// makeBarrier makes the maps that barrier needs.
func (l *loaded) makeBarrier() (err error) {
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	if l.inner, err = ebpf.NewMap(inner); err != nil {
		return fmt.Errorf("make a map: %w", err)
	}
	l.outer, err = ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner,
	})
	if err != nil {
		return fmt.Errorf("make a map of maps: %w", err)
	}
	return nil
}

// barrier waits until the packets that are under way in the chain have left it. The kernel promises
// for a map of maps that after a change no program uses what was there before, and so waits for all
// programs that run.
func (l *loaded) barrier() error {
	if err := l.outer.Put(uint32(0), uint32(l.inner.FD())); err != nil {
		return fmt.Errorf("wait until programs have ended: %w", err)
	}
	return nil
}

// close releases programs and tables. Programs that are on a device stay, with their tables.
func (l *loaded) close() error {
	failed := l.objects.Close()
	for _, m := range []*ebpf.Map{l.outer, l.inner} {
		if m != nil {
			failed = errors.Join(failed, m.Close())
		}
	}
	return failed
}

// newInstance returns a number that no other chain has, and that a sender cannot know.
func newInstance() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never returns an error
	return binary.NativeEndian.Uint32(b[:]) | 1
}

// cost returns how many nanoseconds of a rate one unit takes; 0: there is no limit.
func cost(perSecond int) uint64 {
	if perSecond == 0 {
		return 0
	}
	return max(1, uint64(time.Second)/uint64(perSecond))
}

// burst returns how many nanoseconds of a rate may be taken ahead: one second, without the unit
// that is taken when that is reached.
func burst(perSecond int) uint64 {
	if perSecond == 0 {
		return 0
	}
	return uint64(time.Second) - min(uint64(time.Second), cost(perSecond))
}

// byteOf returns a boolean as the programs have it.
func byteOf(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// wayTo returns how copies leave, as the programs have it.
func wayTo(c datapath.Companion) bpfWay {
	return bpfWay{Companion: uint32(c.Index), Key: c.Key}
}
