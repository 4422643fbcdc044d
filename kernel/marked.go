package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/xfrm"

	"github.com/cilium/ebpf"
)

// ErrNoMarks says that peers cannot be named by marks here: of several behind one NAT address only
// one can be reached.
var ErrNoMarks = errors.New("peers behind one NAT address cannot be told apart on this system")

// What cygnet_probe of bpf/cygnet.c returns.
const (
	probeNoSource  = 1
	probeNoUnkeyed = 2
)

func (s *ebpfPath) EnableMarks() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.askMarks()
}

// askMarks enables marks, and has them kept unless this kernel cannot have them at all. mu is held.
func (s *ebpfPath) askMarks() error {
	if s.objects == nil {
		return fmt.Errorf("%w: %w", ErrNoMarks, errNotLoaded)
	}
	var err error
	if s.egress {
		err = s.enableMarks()
	} else {
		err = fmt.Errorf("lead to peers behind one NAT address: no program of ours is at the egress of %s", s.device)
	}
	s.wanted.marks = !errors.Is(err, ErrNoMarks)
	if s.wanted.marks {
		s.state.Marks = oneLine(err) // it is tried again, and the state tells when it works
	}
	return err
}

// compareMarks brings the companion device in step. One of an earlier run that nobody needs now
// must not answer strangers either.
func (s *ebpfPath) compareMarks(found *finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.objects == nil:
	case s.wanted.marks:
		found.marks = s.enableMarks()
		if found.marks == nil && !found.first && !s.egress {
			found.marks = fmt.Errorf("no program of ours is at the egress of %s", s.device)
		}
		if found.first && (errors.Is(found.marks, ErrNoMarks) || errors.Is(found.marks, ErrCompanionTaken)) {
			s.wanted.marks, found.marks = false, nil // the first SetMarked says so
		}
	default:
		found.marks = s.closeCompanion()
	}
}

// enableMarks looks each time: it mends what others removed or changed.
func (s *ebpfPath) enableMarks() error {
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	tunnel, err := r.LinkByName(s.device)
	if err != nil {
		return err
	}
	if tunnel == nil {
		return fmt.Errorf("find %s: it is gone", s.device)
	}
	if err := s.probeMarks(tunnel); err != nil {
		return err
	}
	companion, err := ensureCompanion(r, s.device, s.companionFilter())
	if err != nil {
		return err
	}
	s.companion = companion
	way := bpfWay{Companion: uint32(companion), Key: tunnel.OKey}
	if err := s.objects.Ways.Put(uint32(0), way); err != nil {
		return fmt.Errorf("set the way to marked peers of %s: %w", s.device, err)
	}
	return nil
}

// closeCompanion sees to it that a companion of ours takes nothing in, if there is one.
func (s *ebpfPath) closeCompanion() error {
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	have, err := findCompanion(r)
	if err != nil || have == nil || have.Alias != companionAlias {
		return err
	}
	if err := closeToArrivals(have, s.companionFilter()); err != nil {
		return err
	}
	s.companion = have.Index
	return nil
}

// companionFilter is the filter that the companion is to have: this tunnel's at first, so that its
// drops count here, then that of whichever tunnel.
func (s *ebpfPath) companionFilter() filter {
	f := companionFilter
	f.program, f.shared = s.objects.CygnetUnclaimed, s.companion != 0
	return f
}

// probeMarks has the kernel run what sends to marked peers, without sending.
func (s *ebpfPath) probeMarks(tunnel *rtnl.Link) error {
	lacks, err := s.objects.CygnetProbe.Run(&ebpf.RunOptions{Data: make([]byte, 64)})
	if err != nil {
		return fmt.Errorf("%w: cannot find out what this kernel can: %w", ErrNoMarks, err)
	}
	if lacks&probeNoSource != 0 {
		return fmt.Errorf("%w: that needs Linux 5.19", ErrNoMarks)
	}
	if lacks&probeNoUnkeyed != 0 && !tunnel.OKeyed {
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
	var failed error
	for name, real := range peers {
		if _, ok := xfrm.MarkOf(name); !ok || real.IsValid() && (!real.Is4() || real.IsUnspecified() || real.IsMulticast()) {
			failed = errors.Join(failed, fmt.Errorf("lead %s to %s on %s: %w", name, real, s.device, nhrpsocket.ErrNBMA))
			continue
		}
		if real.IsValid() {
			s.wanted.marked[keyOf(name)] = keyOf(real)
		} else {
			delete(s.wanted.marked, keyOf(name))
		}
	}
	if err := s.askMarks(); err != nil {
		return errors.Join(failed, err)
	}
	again := s.refused
	for name, real := range peers {
		if _, ok := xfrm.MarkOf(name); ok {
			again = s.lead(name, real) != nil || again
		}
	}
	if again {
		s.ask() // it may work now, and if not, it is told
	}
	return failed
}

// lead sets or deletes what the table has of a marked peer.
func (s *ebpfPath) lead(name, real netip.Addr) error {
	key := keyOf(name)
	want, wanted := s.wanted.marked[key]
	if !real.IsValid() {
		if err := s.objects.Marked.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
		return nil
	}
	if !wanted || want != keyOf(real) {
		return nil // it was refused
	}
	return s.objects.Marked.Put(key, want)
}

// adoptMarked knows the marked peers of before a restart from the kernel's IPsec policies, so that
// their traffic goes on. Where marks cannot be had any more, the first SetMarked says so. mu is
// held.
func (s *ebpfPath) adoptMarked() error {
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	tunnel, err := r.LinkByName(s.device)
	if err != nil || tunnel == nil || !tunnel.GRE.Local.Is4() {
		return err // attaching says what is wrong with the device
	}
	peers, err := xfrm.MarkedPeers(tunnel.GRE.Local)
	if errors.Is(err, rtnl.ErrNoXFRM) || err == nil && len(peers) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	for name, real := range peers {
		if _, known := s.wanted.marked[keyOf(name)]; !known {
			s.wanted.marked[keyOf(name)] = keyOf(real)
		}
	}
	s.wanted.marks = true
	return nil
}
