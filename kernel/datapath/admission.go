package datapath

import (
	"errors"
	"net/netip"

	"cygnet/kernel/rtnl"

	"github.com/cilium/ebpf"
)

// Admission changes whether the kernel takes data from an NBMA address. It takes NHRP from any
// address.
type Admission struct {
	NBMA netip.Addr // an outer address, or the xfrm.MarkedNBMA of a peer

	// NHS says that the peer is a next hop server of this router. Such a peer relays packets that
	// others sent, so their inner sources are not checked.
	NHS bool

	Shared bool // every marked peer whose outer address is NBMA is admitted, too
	Delete bool // data from NBMA is not taken any more
}

// Flags of an admitted address, as bpf/maps.h has them.
const (
	admittedNHS uint32 = 1 << iota
	admittedShared
)

// flags returns the flags of the admitted address in the programs' table.
func (a *Admission) flags() (flags uint32) {
	if a.NHS {
		flags |= admittedNHS
	}
	if a.Shared {
		flags |= admittedShared
	}
	return flags
}

// Admit implements Path. Entries that the kernel refuses are left to the next comparison.
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
		s.requestComparison() // a comparison may succeed now; if it fails, State shows why
	}
	return nil
}

// admit adds peers to the table of admitted peers. It uses one system call, since there may be
// thousands of peers. mu is held.
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

// dismiss removes a peer from the table of admitted peers. mu is held.
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

// adopt finds the peers to which the neighbours of an earlier run lead. That run had admitted all
// of them, but it may have ended before it saved the last ones. mu is held.
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

// Settle implements Path.
func (s *ebpfPath) Settle() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted.adopts = false
	failed := false
	for key := range s.wanted.adopted {
		failed = s.dismiss(key) != nil || failed
	}
	if failed {
		s.requestComparison()
	}
	return nil
}
