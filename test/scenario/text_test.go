//go:build lab

package scenario

import (
	"net/netip"
	"strings"
)

// replace fills in words of a configuration, given as old, new, old, new.
func replace(text string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(text)
}

// contains says whether all words are in the text.
func contains(text string, words ...string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
