package health

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cygnet/nhrpd/api"
)

// failing describes what the kernel has refused since the start, and why, if it gave a reason.
func failing(t *api.Tables) string {
	return fmt.Sprintf("the kernel refuses %d of %d neighbours and routes; they are tried again%s",
		t.Failing, t.WantedNeighbors+t.WantedRoutes, Counts(t.Failures))
}

// Counts lists the counts above zero with their names in brackets, the largest first; "" if there
// are none.
func Counts(counts map[string]uint64) string {
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			return int(min(counts[b], 1<<30)) - int(min(counts[a], 1<<30))
		}
		return strings.Compare(a, b)
	})
	var parts []string
	for _, k := range keys {
		if counts[k] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", k, counts[k]))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
