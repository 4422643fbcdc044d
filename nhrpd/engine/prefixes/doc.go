// Package prefixes decides which prefixes may lead to another router. A route to a prefix must not
// hide what the tunnels depend on: NBMA addresses, the overlay and our own addresses. Nor may it
// hide a route that is not ours.
package prefixes
