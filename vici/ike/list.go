package ike

import (
	"context"
	"errors"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/message"
	"cygnet/vici/session"
)

// List asks charon for IKE_SAs, half-open ones included: with key "ike" those of the connection
// named value, with "ike-id" the one with that unique id, with an empty key all. timeout bounds the
// whole answer.
func List(
	ctx context.Context, s *session.Session, timeout time.Duration, key, value string,
) ([]*SA, error) {
	var sas []*SA
	err := list(ctx, s, timeout, key, value, func(name string, body *govici.Message) {
		if sa, ok := Parse(name, body, time.Now()); ok {
			sas = append(sas, sa)
		}
	})
	return sas, err
}

// ListSPIs asks charon for the SPIs of all its CHILD_SAs, in both directions, including those that
// were rekeyed and not deleted yet. timeout bounds the whole answer.
func ListSPIs(
	ctx context.Context, s *session.Session, timeout time.Duration,
) (map[uint32]bool, error) {
	spis := make(map[uint32]bool)
	err := list(ctx, s, timeout, "", "", func(_ string, sa *govici.Message) {
		children, ok := message.Section(sa, "child-sas")
		if !ok {
			return
		}
		_, bodies := message.Sections(children)
		for _, body := range bodies {
			spis[uint32(message.Number(body, "spi-in", 16))] = true
			spis[uint32(message.Number(body, "spi-out", 16))] = true
		}
	})
	return spis, err
}

// list runs list-sas and hands the section of each IKE_SA to item.
func list(
	ctx context.Context, s *session.Session, timeout time.Duration, key, value string,
	item func(name string, body *govici.Message),
) error {
	args := map[string]any{}
	if key != "" {
		args[key] = value
	}
	m, err := message.New(args)
	if err != nil {
		return err
	}
	return s.Stream(ctx, timeout, "list-sas", "list-sa", m, func(answer *govici.Message) {
		names, bodies := message.Sections(answer)
		for i, name := range names {
			item(name, bodies[i])
		}
	})
}

// EndHalfOpen terminates the IKE_SAs of a connection that this end is still negotiating.
func EndHalfOpen(
	ctx context.Context, s *session.Session, timeout time.Duration, connection string,
) error {
	found, err := List(ctx, s, timeout, "ike", connection)
	if err != nil {
		return err
	}
	var errs []error
	for _, sa := range found {
		if sa.HalfOpen() {
			errs = append(errs, s.Terminate(ctx, timeout, sa.ID, 0))
		}
	}
	return errors.Join(errs...)
}
