package documents

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// named matches the form in which documents name code: a name, the word "in" and the file.
var named = regexp.MustCompile("`([A-Za-z_]\\w*)`\\s+in\\s+`([\\w./-]+\\.(?:go|c|h))`")

// declared returns the names that a file declares: in Go those of functions, methods, types,
// constants and variables at the top level, in C every word.
func declared(t *testing.T, file string) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	if filepath.Ext(file) != ".go" {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range regexp.MustCompile(`\w+`).FindAllString(string(text), -1) {
			names[word] = true
		}
		return names
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range parsed.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names[d.Name.Name] = true
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names[spec.Name.Name] = true
				case *ast.ValueSpec:
					for _, n := range spec.Names {
						names[n.Name] = true
					}
				}
			}
		}
	}
	return names
}

// homes returns which files of this project declare each name.
func homes(t *testing.T) map[string][]string {
	t.Helper()
	found := make(map[string][]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		relative, err := filepath.Rel(root, path)
		for name := range declared(t, path) {
			found[name] = append(found[name], relative)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Each file that a document names beside a function, type or constant is there and declares it. A
// failure says where the name is declared now.
func TestNamedCodeIsThere(t *testing.T) {
	files := make(map[string]map[string]bool) // nil: there is no such file
	var now map[string][]string
	for page, text := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			name, file := m[1], m[2]
			if _, known := files[file]; !known {
				files[file] = nil
				if _, err := os.Stat(filepath.Join(root, file)); err == nil {
					files[file] = declared(t, filepath.Join(root, file))
				}
			}
			if files[file][name] {
				continue
			}
			if now == nil {
				now = homes(t)
			}
			t.Errorf("%s: %s is not in %s; files that declare it: %v", page, name, file, now[name])
		}
	}
}

// Each file and folder of the project that a document names is there. What tests and builds write
// need not be.
func TestNamedPathsAreThere(t *testing.T) {
	path := regexp.MustCompile(
		"`((?:cmd|contrib|doc|kernel|nhrpd|packaging|retry|test|vici)/[\\w./*-]+)`")
	for page, text := range pages(t) {
		if page == "CHANGELOG.md" {
			continue // it names things as they were
		}
		for _, m := range path.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(m[1], "test/out") {
				continue
			}
			found, err := filepath.Glob(filepath.Join(root, m[1]))
			if err != nil || len(found) == 0 {
				t.Errorf("%s names %s, which is not there", page, m[1])
			}
		}
	}
}

// Each of the walks begins at a named function, and names more on its way.
func TestWalksBeginSomewhere(t *testing.T) {
	_, text, _ := strings.Cut(pages(t)["doc/walks.md"], "\n## ")
	walks := strings.Split(text, "\n## ")
	if len(walks) != 5 {
		t.Errorf("want five walks, have %d", len(walks))
	}
	for _, w := range walks {
		title, way, _ := strings.Cut(w, "\n")
		begin, rest, _ := strings.Cut(way, "\n|")
		if !strings.Contains(begin, "Begin ") || !named.MatchString(begin) {
			t.Errorf("the walk %q does not say where it begins", title)
		}
		if n := len(named.FindAllString(rest, -1)); n < 3 {
			t.Errorf("want at least three steps in the walk %q, have %d", title, n)
		}
	}
}

// Each piece of Go in a document is a piece of the file that the line before it names.
func TestQuotedCodeIsThere(t *testing.T) {
	source := regexp.MustCompile("`([\\w./-]+\\.go)`")
	found := 0
	for page, text := range pages(t) {
		for _, b := range blocks(page, text) {
			if b.language != "go" {
				continue
			}
			found++
			m := source.FindStringSubmatch(b.before)
			if m == nil {
				t.Errorf("%s: the line %q does not say which file the code is from", page, b.before)
				continue
			}
			code, err := os.ReadFile(filepath.Join(root, m[1]))
			if err != nil {
				t.Errorf("%s: %v", page, err)
			} else if !strings.Contains(string(code), b.text) {
				t.Errorf("%s: %s does not have this code any more:\n%s", page, m[1], b.text)
			}
		}
	}
	if found == 0 {
		t.Error("want a scenario quoted in doc/testing.md, found no code")
	}
}

// The architecture is a map of two pages, and each guide is one step from it. The page of recipes
// leads to those with a page of their own.
func TestArchitectureIsAMap(t *testing.T) {
	all := pages(t)
	architecture := all["ARCHITECTURE.md"]
	if n := strings.Count(architecture, "\n"); n > 150 {
		t.Errorf("want at most 150 lines in ARCHITECTURE.md, have %d", n)
	}
	for page := range all {
		recipe, ok := strings.CutPrefix(page, "doc/recipes/")
		switch {
		case ok && !strings.Contains(all["doc/recipes.md"], "](recipes/"+recipe):
			t.Errorf("doc/recipes.md has no link to %s", page)
		case !ok && strings.HasPrefix(page, "doc/") && !strings.Contains(architecture, "]("+page):
			t.Errorf("ARCHITECTURE.md has no link to %s", page)
		}
	}
}

// Lines fit beside each other on a screen. Tables are left out, and so is README.md, which is set
// wider because its number of lines is bounded.
func TestLinesAreShort(t *testing.T) {
	for page, text := range pages(t) {
		if page == "README.md" {
			continue
		}
		fenced := false
		for n, line := range strings.Split(text, "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				fenced = !fenced
			}
			if fenced || strings.HasPrefix(line, "|") || !strings.Contains(line, " ") {
				continue
			}
			if width := utf8.RuneCountInString(line); width > 100 {
				t.Errorf("%s:%d has %d characters, want at most 100", page, n+1, width)
			}
		}
	}
}
