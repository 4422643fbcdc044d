// Package event has what can happen outside an engine: packets, changes of routes and addresses,
// SAs that come and go, and what the administrator wants. An engine takes events one after the
// other.
package event
