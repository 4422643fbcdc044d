package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

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
	for len(changes) > 0 {
		delete(s.adopted, changes[0].NBMA)
		n := 1
		if changes[0].Delete {
			failed = errors.Join(failed, s.dismiss(changes[0].NBMA))
		} else {
			for n < len(changes) && !changes[n].Delete {
				delete(s.adopted, changes[n].NBMA)
				n++
			}
			failed = errors.Join(failed, s.admit(changes[:n]))
		}
		changes = changes[n:]
	}
	return failed
}

// admit adds to the table of who is admitted with one system call: there may be thousands.
func (s *ebpfPath) admit(list []Admission) error {
	if len(list) == 0 {
		return nil
	}
	keys, flags := make([]bpfAddress, len(list)), make([]uint32, len(list))
	for i := range list {
		keys[i], flags[i] = bpfAddress{B: list[i].NBMA.As16()}, list[i].flags()
	}
	n, err := s.objects.Admitted.BatchUpdate(keys, flags, nil)
	if err != nil {
		keys = undone(keys, n)
		return fmt.Errorf("admit data from %s and %d others on %s: %w", netip.AddrFrom16(keys[0].B).Unmap(), len(keys)-1, s.device, err)
	}
	return nil
}

// undone is what is left of a batch of which the kernel says that it failed after n. Where it failed before it began to count, n is all.
func undone[T any](batch []T, n int) []T {
	if n >= len(batch) {
		return batch
	}
	return batch[n:]
}

func (s *ebpfPath) dismiss(nbma netip.Addr) error {
	err := s.objects.Admitted.Delete(bpfAddress{B: nbma.As16()})
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("stop admitting data from %s on %s: %w", nbma, s.device, err)
	}
	return nil
}

// admitFirst admits everybody who is to be admitted from the programs' first packet on.
func (s *ebpfPath) admitFirst(cfg *DataPathConfig) error {
	list := slices.Clone(cfg.Admitted)
	if cfg.Adopt {
		if err := s.adopt(list); err != nil {
			return err
		}
		for nbma := range s.adopted {
			list = append(list, Admission{NBMA: nbma})
		}
	}
	return s.admit(list)
}

// adopt finds whom the neighbours of an earlier run lead to. That run admitted them all, but it may have ended before it saved the last
// ones.
func (s *ebpfPath) adopt(known []Admission) error {
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
		if n.ours && n.Device == s.device && n.NBMA.IsValid() {
			s.adopted[n.NBMA] = true
		}
	}
	for i := range known {
		delete(s.adopted, known[i].NBMA)
	}
	return nil
}

func (s *ebpfPath) Settle() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed error
	for nbma := range s.adopted {
		failed = errors.Join(failed, s.dismiss(nbma))
	}
	s.adopted = nil
	return failed
}
