// Package pool provides preallocated memory for what each client of a hub needs.
package pool
