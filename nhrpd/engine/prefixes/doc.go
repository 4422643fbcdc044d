// Package prefixes decides which prefixes may lead to another router. A route to a prefix must hide
// neither what the tunnels rest on nor a route that is not ours.
package prefixes
