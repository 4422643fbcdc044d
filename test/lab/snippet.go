package lab

import (
	"os"
	"strings"
)

// Snippet returns the part of a page that is indented as an example and begins with a line, so that
// a scenario can run it as it stands.
func Snippet(t T, page, first string) string {
	t.Helper()
	const indent = "    "
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatalf("%v", err)
	}
	_, rest, found := strings.Cut(string(text), "\n"+indent+first+"\n")
	if !found {
		t.Fatalf("%s does not show %q", page, first)
	}
	lines := first + "\n"
	for line := range strings.Lines(rest) {
		line, is := strings.CutPrefix(line, indent)
		if !is {
			break
		}
		lines += line
	}
	return lines
}
