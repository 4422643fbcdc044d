// Package ordered reads maps in the order of their keys, so that the same events always give the
// same output.
package ordered
