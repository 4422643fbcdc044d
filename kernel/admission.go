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
	Delete bool
}

// admittedNHS is ADMITTED_NHS of bpf/maps.h.
const admittedNHS uint32 = 1

func (s *ebpfPath) Admit(changes []Admission) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed error
	for _, c := range changes {
		failed = errors.Join(failed, s.admit(c))
	}
	return failed
}

func (s *ebpfPath) admit(c Admission) error {
	key := bpfAddress{B: c.NBMA.As16()}
	if c.Delete {
		if err := s.objects.Admitted.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("stop admitting data from %s on %s: %w", c.NBMA, s.device, err)
		}
		return nil
	}
	flags := uint32(0)
	if c.NHS {
		flags |= admittedNHS
	}
	if err := s.objects.Admitted.Put(key, flags); err != nil {
		return fmt.Errorf("admit data from %s on %s: %w", c.NBMA, s.device, err)
	}
	return nil
}

// admitFirst fills the table of who is admitted with one system call: there may be thousands.
func (s *ebpfPath) admitFirst(cfg DataPathConfig) error {
	n := len(cfg.Admitted)
	if n == 0 {
		return nil
	}
	keys, flags := make([]bpfAddress, n), make([]uint32, n)
	for i, a := range cfg.Admitted {
		keys[i].B = a.NBMA.As16()
		if a.NHS {
			flags[i] |= admittedNHS
		}
	}
	if _, err := s.objects.Admitted.BatchUpdate(keys, flags, nil); err != nil {
		return fmt.Errorf("admit data from %d peers: %w", n, err)
	}
	return nil
}
