package nhrpd

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// task is a part of the daemon that runs until its context ends. Every goroutine of the daemon
// belongs to a task.
type task struct {
	name string
	run  func(context.Context) error
}

// start runs the task in the group. An error that the task returns ends all other tasks. After the
// end of the context, start ignores the task's error.
func (t task) start(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error {
		err := t.run(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("%s: %w", t.name, err)
	})
}
