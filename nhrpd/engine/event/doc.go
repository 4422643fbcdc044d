// Package event has what can happen outside an engine. An engine takes events one after the other.
package event
