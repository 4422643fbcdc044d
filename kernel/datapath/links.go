package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"cygnet/kernel/rtnl"
	"cygnet/kernel/tc"
	"cygnet/kernel/xfrm"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ErrNoLinks is returned by Path.Links if the tunnel has no eBPF programs. Peers at IPv6 addresses
// cannot be reached then.
var ErrNoLinks = errors.New("peers at IPv6 addresses need eBPF on the tunnel device")

// LinkPrefix begins the names of all links. Four hexadecimal digits follow, which are the peer's
// number (xfrm.LinkedNumber), a hyphen and the tunnel's interface index: two tunnels may have one
// peer. A rule of udev or of a network manager can match the prefix.
const LinkPrefix = "cyg6-"

// LinkName returns the name of the link of a peer (xfrm.LinkedNBMA) on the tunnel with an interface
// index. It has at most 15 characters, with indexes of up to five digits.
func LinkName(peer netip.Addr, tunnel int) string {
	number, _ := xfrm.LinkedNumber(peer)
	return fmt.Sprintf("%s%04x-%d", LinkPrefix, number, tunnel%100_000)
}

// PeerOfLink returns the name of the peer that a link is for, by the name of the link.
func PeerOfLink(link string) (netip.Addr, bool) {
	digits, is := strings.CutPrefix(link, LinkPrefix)
	digits, _, _ = strings.Cut(digits, "-")
	number, err := strconv.ParseUint(digits, 16, 16)
	return xfrm.LinkedNBMA(uint16(number)), is && err == nil
}

// Links gives package peerlink the program and the tables for the links: the devices of the peers
// at IPv6 addresses. They are valid until Path.Close.
type Links struct {
	tunnel int
	hand   *ebpf.Program
	links  *ebpf.Map
	owners *ebpf.Map
}

// linkFilter is the filter that each link has to have, without a device and a program.
var linkFilter = tc.Filter{
	At:       tc.Ingress,
	Name:     "cygnet_link",
	Handle:   tc.Handle,
	Priority: filterPriority,
}

// Links implements Path.
func (s *ebpfPath) Links() (Links, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		return Links{}, fmt.Errorf("%w: %w", ErrNoLinks, errNotLoaded)
	}
	return Links{
		tunnel: s.index,
		hand:   s.objects.CygnetLink,
		links:  s.objects.Links,
		owners: s.objects.Owners,
	}, nil
}

// adoptLinks connects the links that an earlier run left, so that packets for their peers leave by
// them as soon as the programs replace those of that run. Package peerlink removes those that are
// wrong. mu is held.
func (s *ebpfPath) adoptLinks() error {
	r, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	all, err := r.GRELinks()
	if err != nil {
		return err
	}
	links := Links{tunnel: s.index, links: s.objects.Links, owners: s.objects.Owners}
	for _, l := range all {
		name, is := PeerOfLink(l.Name)
		if !is || l.Kind != rtnl.KindGRE6 || l.Name != LinkName(name, s.index) {
			continue
		}
		// There may be more than the tables take. Package peerlink reports that.
		if err := links.Connect(name, l.Remote, l.Index); errors.Is(err, unix.E2BIG) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// Tunnel returns the interface index of the tunnel.
func (l Links) Tunnel() int { return l.tunnel }

// Filter returns the filter that a link has to have. It hands up what arrives there.
func (l Links) Filter(device string, index int) tc.Filter {
	f := linkFilter.On(device, index)
	f.Program = l.hand
	return f
}

// Connect makes a device the link of a peer: what the tunnel sends to name leaves by the device,
// and what arrives by the device arrives at the tunnel in that name. real is the peer's address.
func (l Links) Connect(name, real netip.Addr, device int) error {
	_, is := xfrm.LinkedNumber(name)
	if !is {
		return fmt.Errorf("connect %s to %s: it names no linked peer", name, real)
	}
	mark, _ := xfrm.MarkOf(name)
	err := l.owners.Put(uint32(device), bpfOwner{Name: mark, Tunnel: uint32(l.tunnel)})
	if err == nil {
		err = l.links.Put(keyOf(name), bpfLink{Real: keyOf(real), Device: uint32(device)})
	}
	if err != nil {
		return fmt.Errorf("connect the device of %s to the tunnel: %w", real, err)
	}
	return nil
}

// Disconnect ends what Connect did.
func (l Links) Disconnect(name netip.Addr, device int) error {
	var failed error
	for _, err := range []error{l.links.Delete(keyOf(name)), l.owners.Delete(uint32(device))} {
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			failed = errors.Join(failed, fmt.Errorf("disconnect a peer's device: %w", err))
		}
	}
	return failed
}
