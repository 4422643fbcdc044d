//go:build lab

package scenario

import (
	"net/netip"
	"strings"
)

// replace replaces words in a configuration. They are given as old, new, old, new.
func replace(text string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(text)
}

// contains reports whether all words are in the text.
func contains(text string, words ...string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// addr parses an address that is known to be valid.
func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
