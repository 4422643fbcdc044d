package vici

import (
	"context"
	"errors"
	"fmt"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/ike"
	"cygnet/vici/message"
	"cygnet/vici/profile"
	"cygnet/vici/session"
)

// ErrNotConnected is the error of a question while charon is away.
var ErrNotConnected = errors.New("charon is not connected")

// SPIs asks charon for the SPIs of all its CHILD_SAs, in both directions, including those of
// connections that are not ours. ESP states in the kernel with another SPI are not this charon's.
// CHILD_SAs that were rekeyed are in the answer until they are deleted.
func (c *Client) SPIs(ctx context.Context) (map[uint32]bool, error) {
	var spis map[uint32]bool
	answer := make(chan error, 1)
	c.post(func(r *reconciler) {
		if !r.synced {
			answer <- ErrNotConnected
			return
		}
		r.do(func(ctx context.Context, s *session.Session) (err error) {
			spis, err = listSPIs(ctx, s, r.times.list)
			return err
		}, func(err error) { answer <- err })
	})
	select {
	case err := <-answer:
		if err != nil {
			return nil, fmt.Errorf("ask for all SPIs: %w", err)
		}
		return spis, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("ask for all SPIs: %w", context.Cause(ctx))
	}
}

// listSAs asks charon for IKE_SAs, including half-open ones and those of others: with key "ike" for
// those of the connection named value, with "ike-id" for the one with that unique id, with an empty
// key for all. timeout bounds the whole answer.
func listSAs(
	ctx context.Context, s *session.Session, timeout time.Duration, key, value string,
) ([]*SA, error) {
	var sas []*SA
	err := eachSA(ctx, s, timeout, key, value, func(name string, body *govici.Message) {
		if sa, ok := parseSA(name, body, time.Now()); ok {
			sas = append(sas, sa)
		}
	})
	return sas, err
}

// listSPIs asks charon for the SPIs of all its CHILD_SAs, in both directions, including those that
// were rekeyed and not deleted yet. timeout bounds the whole answer.
func listSPIs(
	ctx context.Context, s *session.Session, timeout time.Duration,
) (map[uint32]bool, error) {
	spis := make(map[uint32]bool)
	err := eachSA(ctx, s, timeout, "", "", func(_ string, sa *govici.Message) {
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

// eachSA runs list-sas and hands the section of each IKE_SA to item.
func eachSA(
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

// endHalfOpen terminates the IKE_SAs of a connection that this end is still negotiating.
func endHalfOpen(
	ctx context.Context, s *session.Session, timeout time.Duration, connection string,
) error {
	found, err := listSAs(ctx, s, timeout, "ike", connection)
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

// parseSA reads the section of an IKE_SA from an event.
func parseSA(name string, m *govici.Message, now time.Time) (*SA, bool) {
	sa, ok := ike.Parse(name, m, now)
	if ok {
		attribute(sa)
	}
	return sa, ok
}

// attribute fills in what the name of an SA's connection says about the SA.
func attribute(sa *SA) {
	sa.Interface, _, _ = profile.ParseName(sa.Connection)
	sa.SelectedByMark = profile.GivesMarks(sa.Connection)
}
