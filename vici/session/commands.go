package session

import (
	"context"
	"errors"
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/message"
)

// Each of these methods runs one of charon's commands and waits at most timeout for its answer.
// Their errors are those of [Session.Call].

// LoadConnection loads a connection (load-conn). It changes nothing if charon has an equal one.
func (s *Session) LoadConnection(
	ctx context.Context, timeout time.Duration, conn *govici.Message,
) error {
	_, err := s.Call(ctx, timeout, "load-conn", conn)
	return err
}

// UnloadConnection unloads a connection (unload-conn). A connection that is not loaded is no error.
func (s *Session) UnloadConnection(ctx context.Context, timeout time.Duration, name string) error {
	args, err := message.New(map[string]any{"name": name})
	if err != nil {
		return err
	}
	_, err = s.Call(ctx, timeout, "unload-conn", args)
	if _, no := refused(err); no {
		return nil
	}
	return err
}

// Connections returns the names of all connections that are loaded (get-conns).
func (s *Session) Connections(ctx context.Context, timeout time.Duration) ([]string, error) {
	answer, err := s.Call(ctx, timeout, "get-conns", govici.NewMessage())
	if err != nil {
		return nil, err
	}
	return message.List(answer, "conns"), nil
}

// LoadSecret loads a shared key (load-shared).
func (s *Session) LoadSecret(
	ctx context.Context, timeout time.Duration, secret *govici.Message,
) error {
	_, err := s.Call(ctx, timeout, "load-shared", secret)
	return err
}

// Initiate loads a connection and makes charon dial by it (initiate): name is the connection's,
// child that of its child. It does not wait for the outcome. An initiation that is waited for would
// occupy one of charon's worker threads all the time.
func (s *Session) Initiate(
	ctx context.Context, timeout time.Duration, name, child string, conn *govici.Message,
) error {
	if err := s.LoadConnection(ctx, timeout, conn); err != nil {
		return err
	}
	args, err := message.New(map[string]any{"ike": name, "child": child, "timeout": -1})
	if err != nil {
		return err
	}
	_, err = s.Call(ctx, timeout, "initiate", args)
	return err
}

// Rekey rekeys an SA: kind is "ike-id" or "child-id", id is charon's unique id of the IKE_SA or
// CHILD_SA.
func (s *Session) Rekey(ctx context.Context, timeout time.Duration, kind string, id uint32) error {
	args, err := message.New(map[string]any{kind: int(id)})
	if err != nil {
		return err
	}
	_, err = s.Call(ctx, timeout, "rekey", args)
	return err
}

// Terminate makes charon close an IKE_SA, and waits at most wait until that is done. charon raises
// an event then, too. An IKE_SA that does not exist is no error.
func (s *Session) Terminate(
	ctx context.Context, timeout time.Duration, id uint32, wait time.Duration,
) error {
	limit := -1
	if wait > 0 {
		limit = int(wait.Milliseconds())
	}
	return s.terminate(ctx, timeout, map[string]any{"ike-id": int(id), "timeout": limit})
}

// TerminateAll closes several IKE_SAs as Terminate does, without waiting.
func (s *Session) TerminateAll(ctx context.Context, timeout time.Duration, ids []uint32) error {
	var errs []error
	for _, id := range ids {
		errs = append(errs, s.Terminate(ctx, timeout, id, 0))
	}
	return errors.Join(errs...)
}

// Destroy makes charon tell the peer that an IKE_SA is closed, and forget it at once. A peer that
// does not answer would otherwise keep its SA.
func (s *Session) Destroy(ctx context.Context, timeout time.Duration, id uint32) error {
	return s.terminate(ctx, timeout, map[string]any{"ike-id": int(id), "timeout": -1,
		"force": "yes"})
}

func (s *Session) terminate(ctx context.Context, timeout time.Duration, keys map[string]any) error {
	args, err := message.New(keys)
	if err != nil {
		return err
	}
	_, err = s.Call(ctx, timeout, "terminate", args)
	if words, no := refused(err); no && strings.Contains(words, "no matching") {
		return nil
	}
	return err
}
