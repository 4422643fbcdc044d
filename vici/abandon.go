package vici

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"cygnet/vici/profile"
	"cygnet/vici/salist"
	"cygnet/vici/session"
)

// Abandon removes from a charon what earlier clients left there for interfaces that no client keeps
// any more; gone reports which those are. It unloads the connections under our names and ends their
// IKE_SAs. It also ends the IKE_SAs of the site's own connections named in sites, and leaves these
// connections loaded. Peers are told that their SAs end; nobody waits for their answers. socket is
// charon's; empty: [DefaultSocket]. No client for the same interfaces may run.
func Abandon(
	ctx context.Context, socket string, gone func(iface string) bool, sites ...string,
) error {
	s, err := session.Dialer{Socket: cmp.Or(socket, DefaultSocket)}.Connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	abandoned := func(connection string) bool {
		iface, _, ours := profile.ParseName(connection)
		return ours && gone(iface)
	}
	loaded, err := s.Connections(ctx, defaultTimes.command)
	if err != nil {
		return err
	}
	var problems []error
	for _, name := range loaded {
		if abandoned(name) {
			problems = append(problems, s.UnloadConnection(ctx, defaultTimes.command, name))
		}
	}
	sas, err := salist.List(ctx, s, defaultTimes.list, "", "")
	problems = append(problems, err)
	for _, sa := range sas {
		_, _, ours := profile.ParseName(sa.Connection)
		if ours && gone(sa.Interface) || slices.Contains(sites, sa.Connection) {
			problems = append(problems, s.Destroy(ctx, defaultTimes.command, sa.ID))
		}
	}
	return errors.Join(problems...)
}
