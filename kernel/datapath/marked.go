package datapath

import (
	"errors"
	"fmt"
	"net/netip"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/tc"
	"cygnet/kernel/xfrm"

	"github.com/cilium/ebpf"
)

// ErrNoMarks means that this system cannot reach peers by their marks. Of several peers behind one
// NAT address, it reaches only one.
var ErrNoMarks = errors.New("peers behind one NAT address cannot be told apart on this system")

// errNBMA is the reason why SetMarked refuses an outer address.
var errNBMA = errors.New("not an address of the tunnel's underlay")

// The bits of the result of cygnet_probe in bpf/cygnet.c: what the kernel cannot do.
const (
	probeNoSource  = 1 // set the source address of a packet sent through the companion device
	probeNoUnkeyed = 2 // send such a packet without a GRE key
)

// EnableMarks implements Path.
func (s *ebpfPath) EnableMarks() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wantMarks()
}

// wantMarks enables marks. Run keeps them enabled from then on, unless this kernel does not support
// marks at all. mu is held.
func (s *ebpfPath) wantMarks() error {
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
		s.state.Marks = oneLine(err) // Run tries again, and clears it on success
	}
	return err
}

// compareMarks compares the companion device with what is wanted, and corrects it. If marks are not
// wanted, there may still be a companion device of an earlier run; compareMarks makes sure that it
// takes nothing in.
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
		if found.first &&
			(errors.Is(found.marks, ErrNoMarks) || errors.Is(found.marks, ErrCompanionTaken)) {
			s.wanted.marks, found.marks = false, nil // the first SetMarked returns the error
		}
	default:
		found.marks = s.closeCompanion()
	}
}

// enableMarks sets up the companion device and tells the programs its index. mu is held.
func (s *ebpfPath) enableMarks() error {
	way, err := s.openWay()
	switch {
	case errors.Is(err, ErrNoCompanion):
		return fmt.Errorf("%w: %w", ErrNoMarks, err)
	case errors.Is(err, ErrCompanionTaken):
		return fmt.Errorf("%w: peers behind one NAT address cannot be told apart unless it is removed",
			err)
	case err != nil:
		return err
	}
	if err := s.objects.Ways.Put(uint32(0), way); err != nil {
		return fmt.Errorf("set the way to marked peers of %s: %w", s.device, err)
	}
	return nil
}

// closeCompanion makes sure that a companion device of the daemon's, if there is one, takes nothing
// in. mu is held.
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

// companionFilter returns the filter that the companion device has to have. The first time it is
// this tunnel's own, so that this tunnel counts its drops. After that, any tunnel's will do.
func (s *ebpfPath) companionFilter() tc.Filter {
	f := companionFilter
	f.Program, f.Shared = s.objects.CygnetUnclaimed, s.companion != 0
	return f
}

// probeCompanion finds out whether this kernel can send packets of the tunnel through a companion
// device. It has the kernel run the program cygnet_probe, which sends nothing.
func (s *ebpfPath) probeCompanion(tunnel *rtnl.Link) error {
	lacks, err := s.objects.CygnetProbe.Run(&ebpf.RunOptions{Data: make([]byte, 64)})
	if err != nil {
		return fmt.Errorf("%w: cannot find out what this kernel can: %w", ErrNoCompanion, err)
	}
	if lacks&probeNoSource != 0 {
		return fmt.Errorf("%w: that needs Linux 5.19", ErrNoCompanion)
	}
	if lacks&probeNoUnkeyed != 0 && !tunnel.OKeyed {
		return fmt.Errorf("%w: without a GRE key on %s that needs Linux 6.3; give all routers the same key",
			ErrNoCompanion, s.device)
	}
	return nil
}

// SetMarked implements Path.
func (s *ebpfPath) SetMarked(peers map[netip.Addr]netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	failed := s.want(peers)
	if err := s.wantMarks(); err != nil {
		return errors.Join(failed, err)
	}
	again := s.refused
	for marked, outer := range peers {
		if _, ok := xfrm.MarkOf(marked); ok {
			again = s.mapMarked(marked, outer) != nil || again
		}
	}
	if again {
		s.requestComparison() // a comparison may succeed now; if it fails, State shows why
	}
	return failed
}

// want notes the outer addresses of marked peers. It leaves out impossible addresses, and returns
// an error that names them. mu is held.
func (s *ebpfPath) want(peers map[netip.Addr]netip.Addr) error {
	var failed error
	for marked, outer := range peers {
		impossible := outer.IsValid() &&
			(!outer.Is4() || outer.IsUnspecified() || outer.IsMulticast())
		if _, ok := xfrm.MarkOf(marked); !ok || impossible {
			failed = errors.Join(failed, fmt.Errorf("lead %s to %s on %s: %w",
				marked, outer, s.device, errNBMA))
			continue
		}
		if outer.IsValid() {
			s.wanted.marked[keyOf(marked)] = keyOf(outer)
		} else {
			delete(s.wanted.marked, keyOf(marked))
		}
	}
	return failed
}

// mapMarked sets the table's entry for a marked peer, or deletes it if there is no outer address.
// mu is held.
func (s *ebpfPath) mapMarked(marked, outer netip.Addr) error {
	key := keyOf(marked)
	want, wanted := s.wanted.marked[key]
	if !outer.IsValid() {
		if err := s.objects.Marked.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
		return nil
	}
	if !wanted || want != keyOf(outer) {
		return nil // SetMarked refused the address
	}
	return s.objects.Marked.Put(key, want)
}

// adoptMarked finds the marked peers of an earlier run in the kernel's IPsec policies, so that
// their traffic goes on after a restart. If the kernel does not support marks any more, the first
// SetMarked returns the error. mu is held.
func (s *ebpfPath) adoptMarked() error {
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	tunnel, err := r.LinkByName(s.device)
	if err != nil || tunnel == nil || !tunnel.GRE.Local.Is4() {
		return err // attaching returns what is wrong with the device
	}
	peers, err := xfrm.MarkedPeers(tunnel.GRE.Local)
	if errors.Is(err, rtnl.ErrNoXFRM) || err == nil && len(peers) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	for marked, outer := range peers {
		if _, known := s.wanted.marked[keyOf(marked)]; !known {
			s.wanted.marked[keyOf(marked)] = keyOf(outer)
		}
	}
	s.wanted.marks = true
	return nil
}
