package swanctl_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cygnet/vici/swanctl"
)

// Whatever the file contains, Load and Connection succeed or return an error with a place in the
// file.
func FuzzLoad(f *testing.F) {
	sites, err := filepath.Glob("testdata/sites/*/swanctl.conf")
	if err != nil || len(sites) == 0 {
		f.Fatalf("no sites: %v", err)
	}
	for _, name := range sites {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	for _, c := range faulty {
		f.Add(c.text)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "include") && strings.ContainsAny(text, "/*?[") {
			return // it would read files of this machine
		}
		path := filepath.Join(dir, "swanctl.conf")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := swanctl.Load(path)
		if err != nil {
			hasPlace(t, err)
			return
		}
		for _, name := range file.Names() {
			c, err := file.Connection(name)
			if err != nil {
				hasPlace(t, err)
				continue
			}
			template, problems := c.Template(fixed)
			if (template == nil) != (len(problems) > 0) {
				t.Errorf("%s: neither a template nor problems, or both: %v", name, problems)
			}
			for _, p := range problems {
				hasPlace(t, p)
			}
		}
	})
}

// hasPlace checks that an error names its place.
func hasPlace(t *testing.T, err error) {
	t.Helper()
	problem := (*swanctl.Problem)(nil)
	if !errors.As(err, &problem) || problem.Pos.File == "" || problem.Text == "" {
		t.Errorf("%v names no place", err)
	}
}
