package vici

import (
	"context"
	"log/slog"
	"slices"
	"strconv"

	"cygnet/vici/salist"
	"cygnet/vici/session"
)

// Repair is for CHILD_SAs whose ESP states the kernel has lost; spis are theirs, of either
// direction. charon rekeys them, which makes new states at both ends. If Repair is called again for
// a CHILD_SA, rekeying did not help: its IKE_SA is closed, so that a wanted peer is dialled anew.
// SPIs of no SA of ours are ignored.
func (c *Client) Repair(spis []uint32) {
	c.post(func(r *reconciler) {
		named := setOf(spis)
		for _, sa := range r.sas {
			for _, child := range sa.Children {
				if named[child.SPIIn] || named[child.SPIOut] {
					r.repairs.repair(sa, child)
				}
			}
		}
	})
}

// setOf returns a set of SPIs: the kernel may have lost all its states at once.
func setOf(spis []uint32) map[uint32]bool {
	set := make(map[uint32]bool, len(spis))
	for _, spi := range spis {
		set[spi] = true
	}
	return set
}

// repairs renew SAs whose states the kernel has lost, and delete what rekeying left.
type repairs struct {
	*table
	tried map[uint32]bool // CHILD_SAs that this end had rekeyed to repair them
}

// repair rekeys a child, or closes its IKE_SA if that was tried before.
func (r *repairs) repair(sa *SA, child Child) {
	if r.tried[child.ID] {
		if !r.ending[sa.ID] {
			r.reason(sa.Key(),
				"the kernel lost its ESP states, and rekeying did not bring them back")
			r.terminate(sa.ID)
		}
		return
	}
	r.tried[child.ID] = true
	r.rekey(sa, "child-id", child.ID)
}

// Probe makes peers prove that they are alive; spis are those of CHILD_SAs with them. charon rekeys
// their IKE_SAs, which does not affect traffic. A peer that does not answer loses its IKE_SA when
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

// watchReplaced deletes a rekeyed IKE_SA if it still exists after a while. The end that rekeyed it
// deletes it, except where that end was not heard for so long, after its charon was stopped, that
// it has given up by the time of the answer. Then the IKE_SA would stay for hours, without a child.
func (r *repairs) watchReplaced(id uint32) {
	r.after(r.times.dead, func() {
		r.do(func(ctx context.Context, s *session.Session) error {
			found, err := salist.List(ctx, s, r.times.command, "ike-id",
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
