package fence

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"cygnet/kernel/clock"
	"cygnet/kernel/rtnl"

	"github.com/cilium/ebpf"
)

// Crossing counts what the fence dropped between a local and a remote address.
type Crossing struct {
	Local, Remote netip.Addr
	Out, In       uint64    // packets
	OutAt, InAt   time.Time // of the last packet
	OutDevice     string    // by which the last packet was to leave
	InDevice      string    // by which the last packet arrived
}

// Dropped returns what was dropped since the daemon's start. sums has an entry without Remote for
// each local address. pairs has an entry for each pair of local and remote address, but only for
// outgoing packets, and only as far as the kernel remembers them.
func (f *Fence) Dropped() (sums, pairs []Crossing, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.objects == nil {
		return nil, nil, nil
	}
	times, err := clock.ReadMonotonic()
	if err != nil {
		return nil, nil, err
	}
	r, err := rtnl.Open()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	names, err := r.Links()
	if err != nil {
		return nil, nil, err
	}
	crossing := func(d *fenceDropped) Crossing {
		return Crossing{
			Out: d.Out, OutAt: times.At(d.OutAt), OutDevice: names.Name(int(d.OutDevice)),
			In: d.In, InAt: times.At(d.InAt), InDevice: names.Name(int(d.InDevice)),
		}
	}
	var d fenceDropped
	var local [16]byte
	all := f.objects.Fenced.Iterate()
	for all.Next(&local, &d) {
		c := crossing(&d)
		c.Local = netip.AddrFrom16(local).Unmap()
		sums = append(sums, c)
	}
	if err := all.Err(); err != nil {
		return nil, nil, fmt.Errorf("read what clear GRE was stopped: %w", err)
	}
	var pair [32]byte
	all = f.objects.Pairs.Iterate()
	for all.Next(&pair, &d) {
		c := crossing(&d)
		c.Local = netip.AddrFrom16([16]byte(pair[:16])).Unmap()
		c.Remote = netip.AddrFrom16([16]byte(pair[16:])).Unmap()
		pairs = append(pairs, c)
	}
	// If entries come while a full table is read, the reading may end early.
	if err := all.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, nil, fmt.Errorf("read what clear GRE was stopped: %w", err)
	}
	return sums, pairs, nil
}
