package admission

import (
	"fmt"

	"cygnet/nhrpd/engine/peerid"
)

// Check returns an error if the table contradicts itself, or holds more than it may: a count that
// differs from what a walk over the reasons gives, an admission without a reason that never ends,
// or one without the reasons that the caller knows of. hasReason reports whether the caller knows
// of a reason to admit an address. Check is for tests, and slow.
func (ad *Table) Check(hasReason func(id peerid.ID) bool) error {
	if n := len(ad.byID); n > 2*ad.Config.MostAdmitted() {
		return fmt.Errorf("%d addresses are admitted", n)
	}
	for id, at := range ad.byID {
		n := len(at.reasons)
		if n > 0 != hasReason(id) || n == 0 && !at.end.IsSet() {
			return fmt.Errorf("%s is admitted for %d reasons, and that ends: %v",
				id, n, at.end.IsSet())
		}
		var as As
		for _, r := range at.reasons {
			as.NHS, as.Shared = as.NHS || r.As.NHS, as.Shared || r.As.Shared
		}
		if at.together() != as {
			return fmt.Errorf("%s is admitted as %+v, counted %+v", id, as, at.together())
		}
	}
	return nil
}
