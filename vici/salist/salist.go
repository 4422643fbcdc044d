// Package salist asks charon for the list of its SAs and reads it.
package salist

import (
	"context"
	"fmt"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/ike"
	"cygnet/vici/message"
	"cygnet/vici/profile"
	"cygnet/vici/session"
)

// List asks charon for IKE_SAs, including half-open ones and those of others: with key "ike" for
// those of the connection named value, with "ike-id" for the one with that unique id, with an empty
// key for all. timeout bounds the whole answer.
func List(
	ctx context.Context, s *session.Session, timeout time.Duration, key, value string,
) ([]*ike.SA, error) {
	var sas []*ike.SA
	err := eachSA(ctx, s, timeout, key, value, func(name string, body *govici.Message) {
		if sa, ok := Parse(name, body, time.Now()); ok {
			sas = append(sas, sa)
		}
	})
	return sas, err
}

// SPIs asks charon for the SPIs of all its CHILD_SAs, in both directions, including those that
// were rekeyed and not deleted yet. timeout bounds the whole answer.
func SPIs(
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

// Parse reads the section of an IKE_SA from a list or an event, with what the names of its
// connection and child say (see [profile.Attribute]).
func Parse(name string, m *govici.Message, now time.Time) (*ike.SA, bool) {
	sa, ok := ike.Parse(name, m, now)
	if ok {
		profile.Attribute(sa)
	}
	return sa, ok
}

// From asks the charon that listens on a socket for all its IKE_SAs. It is for those who look at
// a charon from outside.
func From(ctx context.Context, socket string, timeout time.Duration) ([]ike.SA, error) {
	var sas []ike.SA
	err := session.Stream(ctx, timeout, socket, "list-sas", "list-sa",
		func(answer *govici.Message) {
			names, bodies := message.Sections(answer)
			for i, name := range names {
				if sa, ok := Parse(name, bodies[i], time.Now()); ok {
					sas = append(sas, *sa)
				}
			}
		})
	if err != nil {
		return nil, fmt.Errorf("ask charon for its SAs: %w", err)
	}
	return sas, nil
}
