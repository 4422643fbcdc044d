package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
)

// loadPath loads the programs and maps into the kernel.
func loadPath(cfg Config) (objects bpfObjects, err error) {
	spec, err := loadBpf()
	if err != nil {
		return objects, err
	}
	version, err := features.LinuxVersionCode()
	if err != nil {
		return objects, fmt.Errorf("read the kernel's version: %w", err)
	}
	settings := []struct {
		variable string
		value    any
	}{
		{bpfVarAdmission, byteOf(cfg.Admission)},
		{bpfVarSourceCheck, byteOf(cfg.Admission && cfg.SourceCheck)},
		{bpfVarOverlayPrefix, firstHalf(cfg.LinkLocals)},
		{bpfVarClient, byteOf(cfg.Client)},
		{bpfVarSample, byteOf(cfg.Redirect)},
		{bpfVarTellsDevice, byteOf(version >= 5<<16|12<<8)},
		{bpfVarFirstInterval, uint64(cfg.Rate.First)},
		{bpfVarLastInterval, uint64(cfg.Rate.Last)},
		{bpfVarPerSecond, uint64(cfg.Rate.PerSecond)},
		{bpfVarPerSource, uint64(cfg.Rate.PerSource)},
		{bpfVarNhrpByte, uint64(time.Second) / uint64(cfg.NHRP.PerSecond)},
		{bpfVarMssIpv4, uint32(cfg.MSS.IPv4)},
		{bpfVarMssIpv6, uint32(cfg.MSS.IPv6)},
		{
			bpfVarNhrpBurst,
			uint64(cfg.NHRP.Burst) * (uint64(time.Second) / uint64(cfg.NHRP.PerSecond)),
		},
	}
	for _, name := range []string{bpfMapAdmitted, bpfMapMarked} {
		spec.Maps[name].MaxEntries = uint32(cfg.Peers)
	}
	for _, name := range []string{bpfMapLinks, bpfMapOwners} {
		spec.Maps[name].MaxEntries = uint32(cfg.Links)
	}
	// At every start of the daemon the kernel allocates memory for all entries of all tables,
	// except for the table of marked peers. So the tables are no larger than needed.
	for _, name := range []string{bpfMapPeers, bpfMapShares, bpfMapSentTo} {
		spec.Maps[name].MaxEntries = min(uint32(max(cfg.Peers, 1024)), spec.Maps[name].MaxEntries)
	}
	if !cfg.Redirect {
		spec.Maps[bpfMapFlows].MaxEntries = 1
	}
	for _, s := range settings {
		if err := spec.Variables[s.variable].Set(s.value); err != nil {
			return objects, fmt.Errorf("set %s: %w", s.variable, err)
		}
	}
	// Before Linux 5.11 maps count against this limit. If the limit cannot be raised, and that
	// matters, loading returns an error.
	_ = rlimit.RemoveMemlock()
	if err := spec.LoadAndAssign(&objects, nil); err != nil {
		return objects, fmt.Errorf("load the programs: %w", err)
	}
	return objects, nil
}

// Probe loads the programs and tables, and releases them. It returns an error if the kernel does
// not take them.
func Probe() error {
	cfg := Config{Admission: true}
	cfg.setDefaults()
	objects, err := loadPath(cfg)
	if err != nil {
		return err
	}
	return objects.Close()
}

// firstHalf returns the first 64 bits of an IPv6 prefix as the programs have them, and 0 for the
// zero prefix.
func firstHalf(p netip.Prefix) uint64 {
	if !p.IsValid() {
		return 0
	}
	a := p.Masked().Addr().As16()
	return binary.NativeEndian.Uint64(a[:])
}

// byteOf returns a boolean as the programs have it.
func byteOf(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// load loads the programs and tables into the kernel, and finds the entries of an earlier run that
// are still wanted.
func (s *ebpfPath) load() error {
	objects, err := loadPath(s.cfg)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects = &objects
	if err := errors.Join(s.adopt(), s.adoptMarked(), s.adoptLinks()); err != nil {
		s.objects = nil
		return errors.Join(err, objects.Close())
	}
	close(s.loaded)
	return nil
}
