package report

// Placement is how the kernel gets the route of a shortcut. The values are kept in the saved state
// and shown by the API.
type Placement string

// The placements of a shortcut.
const (
	// PlacedNowhere is that of a shortcut that needs no route, or is not up.
	PlacedNowhere Placement = ""

	// PlacedWhole is one route to the shortcut's prefix, in the table of the interface.
	PlacedWhole Placement = "whole"

	// PlacedHalves is one route to each half of the shortcut's prefix, in the table of the
	// interface. A route of others to the whole prefix stays beside them.
	PlacedHalves Placement = "halves"

	// PlacedHostTable is one route to a single address, in the table that holds host routes only. A
	// host route of others to that address stays in the table of the interface.
	PlacedHostTable Placement = "host table"
)
