package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// Admission lets data pass from an NBMA address, or no longer. NHRP always passes.
type Admission struct {
	NBMA   netip.Addr // as the world sees it, or a MarkedNBMA
	NHS    bool       // it is a next hop server of ours: it relays what others sent, so its inner sources are not checked
	Shared bool       // every marked peer that the world sees at NBMA is admitted, too
	Delete bool
}

// Flags of an admitted address, as in bpf/maps.h.
const (
	admittedNHS uint32 = 1 << iota
	admittedShared
)

func (a *Admission) flags() (flags uint32) {
	if a.NHS {
		flags |= admittedNHS
	}
	if a.Shared {
		flags |= admittedShared
	}
	return flags
}

func (s *ebpfPath) Admit(changes []Admission) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed error
	for i := range changes {
		delete(s.adopted, changes[i].NBMA)
		failed = errors.Join(failed, s.admit(&changes[i]))
	}
	return failed
}

func (s *ebpfPath) admit(a *Admission) error {
	key := bpfAddress{B: a.NBMA.As16()}
	if a.Delete {
		if err := s.objects.Admitted.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("stop admitting data from %s on %s: %w", a.NBMA, s.device, err)
		}
		return nil
	}
	if err := s.objects.Admitted.Put(key, a.flags()); err != nil {
		return fmt.Errorf("admit data from %s on %s: %w", a.NBMA, s.device, err)
	}
	return nil
}

// admitFirst fills the table of who is admitted with one system call: there may be thousands.
func (s *ebpfPath) admitFirst(cfg *DataPathConfig) error {
	var keys []bpfAddress
	var flags []uint32
	wanted := make(map[netip.Addr]bool, len(cfg.Admitted))
	for i := range cfg.Admitted {
		a := &cfg.Admitted[i]
		wanted[a.NBMA] = true
		keys, flags = append(keys, bpfAddress{B: a.NBMA.As16()}), append(flags, a.flags())
	}
	if cfg.Adopt {
		if err := s.adopt(wanted); err != nil {
			return err
		}
		for nbma := range s.adopted {
			keys, flags = append(keys, bpfAddress{B: nbma.As16()}), append(flags, 0)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	if _, err := s.objects.Admitted.BatchUpdate(keys, flags, nil); err != nil {
		return fmt.Errorf("admit data from %d peers: %w", len(keys), err)
	}
	return nil
}

// adopt finds whom the neighbours of an earlier run lead to. That run admitted them all, but it may have ended before it saved the last
// ones.
func (s *ebpfPath) adopt(wanted map[netip.Addr]bool) error {
	r, err := openRequests()
	if err != nil {
		return err
	}
	defer r.close()
	links, err := r.dumpLinks()
	if err != nil {
		return err
	}
	neighbors, err := r.dumpNeighbors(links)
	if err != nil {
		return err
	}
	s.adopted = make(map[netip.Addr]bool)
	for _, n := range neighbors {
		if n.ours && n.Device == s.device && n.NBMA.IsValid() && !wanted[n.NBMA] {
			s.adopted[n.NBMA] = true
		}
	}
	return nil
}

func (s *ebpfPath) Settle() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed error
	for nbma := range s.adopted {
		failed = errors.Join(failed, s.admit(&Admission{NBMA: nbma, Delete: true}))
	}
	s.adopted = nil
	return failed
}
