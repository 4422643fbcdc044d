package vici

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"

	govici "github.com/strongswan/govici/vici"
)

// Abandon ends what clients of before left in the charon at a socket (empty: DefaultSocket) for interfaces that no client keeps any more,
// those that gone tells: connections under our names are unloaded, and the IKE_SAs under these names end, as those under connections of
// the site's own do that are given; these stay loaded. Peers are told, and not waited for. No client for the same interfaces may run.
func Abandon(ctx context.Context, socket string, gone func(iface string) bool, sites ...string) error {
	s, err := dial(ctx, (&net.Dialer{}).DialContext, cmp.Or(socket, DefaultSocket), nil)
	if err != nil {
		return err
	}
	defer s.Close()
	abandoned := func(connection string) bool {
		iface, _, ours := parseName(connection)
		return ours && gone(iface)
	}
	answer, err := s.call(ctx, defaultTimes.command, "get-conns", govici.NewMessage())
	if err != nil {
		return err
	}
	var problems []error
	for _, name := range list(answer, "conns") {
		if abandoned(name) {
			problems = append(problems, unloadConn(ctx, s, defaultTimes.command, name))
		}
	}
	sas, err := listSAs(ctx, s, defaultTimes.list, "", "")
	problems = append(problems, err)
	for _, sa := range sas {
		if abandoned(sa.Connection) || slices.Contains(sites, sa.Connection) {
			problems = append(problems, destroy(ctx, s, defaultTimes.command, sa.ID))
		}
	}
	return errors.Join(problems...)
}
