package nhrpd

import (
	"context"
	"fmt"
	"net/netip"

	"cygnet/kernel/peerlink"
)

// fakeLinks notes which links are wanted. A test makes a link by sending its peer's address to
// made.
type fakeLinks struct {
	world  *world
	config peerlink.Config
	made   chan netip.Addr
}

func (f *fakeLinks) Run(ctx context.Context) error {
	for {
		select {
		case nbma := <-f.made:
			f.config.Made(nbma, 7)
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *fakeLinks) Want(name, remote netip.Addr) error {
	f.world.note(fmt.Sprintf("link %s from %s to %s", name, f.config.Local, remote))
	f.made <- remote
	return nil
}

func (f *fakeLinks) Unwant(name netip.Addr) { f.world.note(fmt.Sprintf("no link %s", name)) }
func (f *fakeLinks) Settle()                {}
func (f *fakeLinks) Stats() peerlink.Stats  { return peerlink.Stats{} }
