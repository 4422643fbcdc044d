package vici

import (
	"context"
	"log/slog"
	"slices"
	"strconv"

	"cygnet/vici/session"
)

// Repair rekeys the CHILD_SAs of ours with these SPIs, of either direction, because the kernel has
// lost their states: charon rekeys them, which makes new states at both ends. One that cannot be
// rekeyed loses its IKE_SA when it is named again, so that the peer is dialled anew where it is
// wanted. SPIs that belong to no SA (any more) are ignored.
func (c *Client) Repair(spis []uint32) {
	c.post(func(r *reconciler) {
		named := setOf(spis)
		for _, sa := range r.sas {
			for _, child := range sa.Children {
				if named[child.SPIIn] || named[child.SPIOut] {
					r.repair(sa, child)
				}
			}
		}
	})
}

// setOf makes a set of SPIs: the kernel may have lost all states at once.
func setOf(spis []uint32) map[uint32]bool {
	set := make(map[uint32]bool, len(spis))
	for _, spi := range spis {
		set[spi] = true
	}
	return set
}

func (r *reconciler) repair(sa *SA, child Child) {
	if r.repaired[child.ID] {
		if !r.ending[sa.ID] {
			r.reason(sa.Key(),
				"the kernel lost its ESP states, and rekeying did not bring them back")
			r.terminate(sa.ID)
		}
		return
	}
	r.repaired[child.ID] = true
	r.rekey(sa, "child-id", child.ID)
}

// Probe has the peers of the CHILD_SAs with these SPIs prove that they are alive: charon rekeys
// their IKE_SAs, which traffic does not notice. A peer that does not answer loses its IKE_SA once
// charon has retransmitted in vain.
func (c *Client) Probe(spis []uint32) {
	c.post(func(r *reconciler) {
		named := setOf(spis)
		for _, sa := range r.sas {
			if slices.ContainsFunc(sa.Children, func(c Child) bool {
				return named[c.SPIIn] || named[c.SPIOut]
			}) {
				r.rekey(sa, "ike-id", sa.ID)
			}
		}
	})
}

func (r *reconciler) rekey(sa *SA, kind string, id uint32) {
	r.do(func(ctx context.Context, s *session.Session) error {
		return s.Rekey(ctx, r.times.command, kind, id)
	}, func(err error) {
		if !r.fatal(err) && err != nil {
			r.log.Warn("rekeying failed", slog.Any("peer", sa.Key()), slog.Uint64(kind, uint64(id)),
				slog.Any("error", err))
		}
	})
}

// An IKE_SA that was rekeyed is deleted by the end that rekeyed it. One that was not heard for long
// has given it up by the time it is answered, as after this end's charon was stopped: then the
// rekeyed SA stays for hours, with nothing in it.

// watchReplaced has an IKE_SA that was rekeyed looked for after a while.
func (r *reconciler) watchReplaced(id uint32) {
	r.after(r.times.zombie, func() {
		r.do(func(ctx context.Context, s *session.Session) error {
			found, err := listSAs(ctx, s, r.times.command, "ike-id",
				strconv.FormatUint(uint64(id), 10))
			if err != nil || len(found) == 0 || !found[0].Replaced() {
				return err
			}
			return s.Destroy(ctx, r.times.command, id)
		}, func(err error) {
			if !r.fatal(err) && err != nil {
				r.log.Warn("a rekeyed SA may be left", slog.Uint64("ike-id", uint64(id)),
					slog.Any("error", err))
			}
		})
	})
}
