package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// ErrNoMarks says that peers cannot be named by marks here: of several behind one NAT address only one can be reached.
var ErrNoMarks = errors.New("peers behind one NAT address cannot be told apart on this system")

// What cygnet_probe of bpf/cygnet.c returns.
const (
	probeNoSource  = 1
	probeNoUnkeyed = 2
)

func (s *ebpfPath) EnableMarks() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.enableMarks()
}

// enableMarks looks each time: it mends what others removed or changed.
func (s *ebpfPath) enableMarks() error {
	r, err := openRequests()
	if err != nil {
		return err
	}
	defer r.close()
	tunnel, err := r.linkByName(s.device)
	if err != nil {
		return err
	}
	if tunnel == nil {
		return fmt.Errorf("find %s: it is gone", s.device)
	}
	if err := s.probeMarks(tunnel); err != nil {
		return err
	}
	companion, err := ensureCompanion(r, s.device, s.objects.CygnetUnclaimed)
	if err != nil {
		return err
	}
	way := bpfWay{Companion: uint32(companion), Key: tunnel.okey}
	if err := s.objects.Ways.Put(uint32(0), way); err != nil {
		return fmt.Errorf("set the way to marked peers of %s: %w", s.device, err)
	}
	return nil
}

// probeMarks has the kernel run what sends to marked peers, without sending.
func (s *ebpfPath) probeMarks(tunnel *link) error {
	lacks, err := s.objects.CygnetProbe.Run(&ebpf.RunOptions{Data: make([]byte, 64)})
	if err != nil {
		return fmt.Errorf("%w: cannot find out what this kernel can: %w", ErrNoMarks, err)
	}
	if lacks&probeNoSource != 0 {
		return fmt.Errorf("%w: that needs Linux 5.19", ErrNoMarks)
	}
	if lacks&probeNoUnkeyed != 0 && !tunnel.okeyed {
		return fmt.Errorf("%w: without a GRE key on %s that needs Linux 6.3; give all routers the same key", ErrNoMarks, s.device)
	}
	return nil
}

func (s *ebpfPath) SetMarked(peers map[netip.Addr]netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.setMarked(peers)
}

func (s *ebpfPath) setMarked(peers map[netip.Addr]netip.Addr) error {
	if err := s.enableMarks(); err != nil {
		return err
	}
	var failed error
	for name, real := range peers {
		if _, ok := MarkOf(name); !ok || real.IsValid() && (!real.Is4() || real.IsUnspecified() || real.IsMulticast()) {
			failed = errors.Join(failed, fmt.Errorf("lead %s to %s on %s: %w", name, real, s.device, ErrNBMA))
			continue
		}
		failed = errors.Join(failed, s.lead(name, real))
	}
	return failed
}

func (s *ebpfPath) lead(name, real netip.Addr) error {
	key := bpfAddress{B: name.As16()}
	if !real.IsValid() {
		if err := s.objects.Marked.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget the marked peer %s on %s: %w", name, s.device, err)
		}
		return nil
	}
	if err := s.objects.Marked.Put(key, bpfAddress{B: real.As16()}); err != nil {
		return fmt.Errorf("lead %s to %s on %s: %w", name, real, s.device, err)
	}
	return nil
}

// markFirst knows the marked peers of before a restart from the kernel's IPsec policies, so that their traffic goes on. Where marks
// cannot be had any more, the first SetMarked says so.
func (s *ebpfPath) markFirst() error {
	r, err := openRequests()
	if err != nil {
		return err
	}
	defer r.close()
	tunnel, err := r.linkByName(s.device)
	if err != nil || tunnel == nil || !tunnel.gre.local.Is4() {
		return err // attaching says what is wrong with the device
	}
	peers, err := MarkedPeers(tunnel.gre.local)
	if errors.Is(err, ErrNoXFRM) || err == nil && len(peers) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.setMarked(peers); err != nil && !errors.Is(err, ErrNoMarks) && !errors.Is(err, ErrCompanionTaken) {
		return err
	}
	return nil
}
