package kernel

import (
	"errors"
	"net/netip"

	"cygnet/kernel/rtnl"

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
	failed := false
	for len(changes) > 0 {
		n := 1
		if changes[0].Delete {
			failed = s.dismiss(keyOf(changes[0].NBMA)) != nil || failed
		} else {
			for n < len(changes) && !changes[n].Delete {
				n++
			}
			failed = s.admit(changes[:n]) != nil || failed
		}
		changes = changes[n:]
	}
	if failed || s.refused {
		s.ask() // it may work now, and if not, it is told
	}
	return nil
}

// admit adds to the table of who is admitted with one system call: there may be thousands.
func (s *ebpfPath) admit(list []Admission) error {
	keys, flags := make([]bpfAddress, len(list)), make([]uint32, len(list))
	for i := range list {
		keys[i], flags[i] = keyOf(list[i].NBMA), list[i].flags()
		s.wanted.admitted[keys[i]] = flags[i]
		delete(s.wanted.adopted, keys[i])
	}
	if s.objects == nil {
		return nil
	}
	_, err := setEntries(s.objects.Admitted, keys, flags)
	return err
}

func (s *ebpfPath) dismiss(key bpfAddress) error {
	delete(s.wanted.admitted, key)
	delete(s.wanted.adopted, key)
	if s.objects == nil {
		return nil
	}
	if err := s.objects.Admitted.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	return nil
}

// adopt finds whom the neighbours of an earlier run lead to. That run admitted them all, but it may
// have ended before it saved the last ones. mu is held.
func (s *ebpfPath) adopt() error {
	if !s.wanted.adopts {
		return nil
	}
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	links, err := r.Links()
	if err != nil {
		return err
	}
	neighbors, err := r.Neighbors(links)
	if err != nil {
		return err
	}
	s.wanted.adopted = make(map[bpfAddress]bool)
	for _, n := range neighbors {
		if !n.Ours || n.Device != s.device || !n.NBMA.IsValid() {
			continue
		}
		if _, known := s.wanted.admitted[keyOf(n.NBMA)]; !known {
			s.wanted.adopted[keyOf(n.NBMA)] = true
		}
	}
	return nil
}

func (s *ebpfPath) Settle() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted.adopts = false
	failed := false
	for key := range s.wanted.adopted {
		failed = s.dismiss(key) != nil || failed
	}
	if failed {
		s.ask()
	}
	return nil
}
