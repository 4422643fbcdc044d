package nhrpd

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// task is a part of the daemon that runs until its context ends. Every goroutine of the daemon belongs to one.
type task struct {
	name string
	run  func(context.Context) error
}

// start runs the task in the group. A task that returns an error ends all others; the end of the context is no error.
func (t task) start(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error {
		err := t.run(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("%s: %w", t.name, err)
	})
}
