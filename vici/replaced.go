package vici

import (
	"context"
	"log/slog"
	"strconv"
)

// An IKE_SA that was rekeyed is deleted by the end that rekeyed it. One that was not heard for long has given it up by the time it is
// answered, as after this end's charon was stopped: then the rekeyed SA stays for hours, with nothing in it.

// watchReplaced has an IKE_SA that was rekeyed looked for after a while.
func (r *reconciler) watchReplaced(id uint32) {
	r.after(r.times.zombie, func() {
		r.do(func(ctx context.Context, s *session) error {
			found, err := listSAs(ctx, s, r.times.command, "ike-id", strconv.FormatUint(uint64(id), 10))
			if err != nil || len(found) == 0 || !found[0].replaced() {
				return err
			}
			return destroy(ctx, s, r.times.command, id)
		}, func(err error) {
			if !r.fatal(err) && err != nil {
				r.log.Warn("a rekeyed SA may be left", slog.Uint64("ike-id", uint64(id)), slog.Any("error", err))
			}
		})
	})
}
