package nhrpd

import (
	"context"
	"fmt"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/logging"
)

// Drain asks the clients of an interface away, or of all interfaces if the name is empty, or with
// off no longer does so. A reload changes nothing about that; leaving or a restart of the daemon
// ends it. It returns an error if there is no such interface.
func (d *Daemon) Drain(ctx context.Context, name string, off bool) error {
	found := false
	err := d.loop.call(ctx, func(now time.Time) {
		for i := range d.loop.opened() {
			if name != "" && i.name != name {
				continue
			}
			found = true
			d.loop.engine.Handle(now, engine.Drain{Interface: i.name, Off: off}, &d.loop.out)
			text := "asking the clients away"
			if off {
				text = "taking clients again"
			}
			d.log.Info(text, logging.EventKey, api.EventDraining, "interface", i.name)
		}
	})
	switch {
	case err != nil:
		return fmt.Errorf("drain %s: %w", name, err)
	case !found && name != "":
		return fmt.Errorf("drain %s: %w", name, api.ErrNoInterface)
	}
	return nil
}
