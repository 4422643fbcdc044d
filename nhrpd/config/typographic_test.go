package config

import (
	"strings"
	"testing"
)

// Quotation marks that were pasted from other text are reported as such, wherever they stand. The
// message does not show the text between them.
func TestTypographicQuotes(t *testing.T) {
	for _, text := range []string{
		"[interface.gre1]\naddress = “10.255.0.1/24”\n",
		"[interface.gre1]\naddress = ‘10.255.0.1/24’\n",
		"[interface.gre1]\nauthentication = “hunter2”\n",
		"[interface.gre1]\nnhs = [{ nbma = „hub“ }]\n",
	} {
		_, err := Parse([]byte(text), "c.toml")
		if err == nil ||
			!strings.HasPrefix(err.Error(), "c.toml:2: not TOML: typographic quotes") ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
