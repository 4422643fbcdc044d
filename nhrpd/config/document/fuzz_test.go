package document

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// For any input, Read returns. Each problem has a line in the file and is one line itself, and
// locate finds every key of valid TOML.
func FuzzRead(f *testing.F) {
	reference, err := os.ReadFile("../../../contrib/cygnet/reference.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(reference))
	f.Add("tables.a.name = 1\n[[list]]\nname = 1\n[[list]]\nsecret = 'x'\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Read("F", []byte(text), &settings{})
		var found []*Problem
		if d != nil {
			found = d.Problems
		} else if p := (*Problem)(nil); errors.As(err, &p) {
			found = append(found, p)
		} else {
			t.Errorf("error %v", err)
		}
		for _, p := range found {
			if p.Line < 0 || p.Line > strings.Count(text, "\n")+1 ||
				strings.ContainsAny(p.Error(), "\n\x1b") {
				t.Errorf("problem %q", p)
			}
		}
		checkLines(t, text)
	})
}

// checkLines holds locate to the library: what the library finds has a line.
func checkLines(t *testing.T, text string) {
	t.Helper()
	var tree map[string]any
	if toml.Unmarshal([]byte(text), &tree) != nil {
		return
	}
	lines := locate(text)
	for _, at := range places(nil, tree) {
		if lines[at.String()] == 0 {
			t.Errorf("no line for %s in:\n%s", at, text)
		}
	}
}
