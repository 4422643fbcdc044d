//go:build lab

package scenario

import "strings"

// replace fills in words of a configuration, given as old, new, old, new.
func replace(text string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(text)
}
