package datapath

import (
	"fmt"

	"cygnet/kernel/rtnl"
)

// compareVRF tells the programs whether the tunnel is in a VRF. Their look-ups have to follow the
// tunnel when somebody puts it into a VRF or takes it out.
func (s *ebpfPath) compareVRF(found *finding) {
	in, err := isInVRF(s.device)
	if err != nil {
		found.vrf = err
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		return
	}
	around := bpfSurroundings{InVrf: uint32(byteOf(in))}
	if err := s.objects.Around.Put(uint32(0), around); err != nil {
		found.vrf = fmt.Errorf("tell the programs whether %s is in a VRF: %w", s.device, err)
	}
}

// isInVRF reports whether a device is in a VRF. A device that is gone is in none.
func isInVRF(device string) (bool, error) {
	r, err := rtnl.Open()
	if err != nil {
		return false, err
	}
	defer r.Close()
	l, err := r.LinkByName(device)
	if err != nil || l == nil || l.Master == 0 {
		return false, err
	}
	master, err := r.LinkByIndex(l.Master)
	return master != nil && master.Kind == rtnl.KindVRF, err
}
