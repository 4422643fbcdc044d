package documents

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Every configuration that doc/routing.md shows is run as it stands: a test on a real kernel reads
// it from the page, or it is a part of an example of contrib, which such tests read, too.
func TestRoutingConfigurationsAreRun(t *testing.T) {
	run, examples := snippets(t), exampleLines(t)
	seen := make(map[string]bool)
	for _, text := range codeBlocks(pages(t)["doc/routing.md"]) {
		first, _, _ := strings.Cut(text, "\n")
		switch {
		case strings.HasPrefix(first, "$ "): // what a terminal shows
		case seen[first]:
			t.Errorf("two blocks of doc/routing.md begin with %q; tests read the first one", first)
		case !run[first] && !quotes(text, examples):
			t.Errorf("want a test that runs this block of doc/routing.md, have none:\n%s", text)
		}
		seen[first] = true
	}
	if len(seen) < 20 {
		t.Errorf("want the page's blocks, found %d", len(seen))
	}
}

// codeBlocks returns the blocks of a page that are indented as code, as lab.Snippet reads them.
func codeBlocks(page string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^\n((?: {4}.*\n)+)`).FindAllStringSubmatch(page, -1) {
		all = append(all, strings.ReplaceAll("\n"+m[1], "\n    ", "\n")[1:])
	}
	return all
}

// snippets returns the first lines of the blocks of doc/routing.md that tests on a real kernel
// read: by lab.Snippet, or by a method snippet that has the page.
func snippets(t *testing.T) map[string]bool {
	t.Helper()
	read := make(map[string]bool)
	for _, folder := range []string{"contrib", "test/scenario"} {
		files, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil,
				parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && ofRouting(call) {
					for _, text := range literals(call.Args[len(call.Args)-1]) {
						read[text] = true
					}
				}
				return true
			})
		}
	}
	return read
}

// ofRouting reports whether a call reads a block of doc/routing.md.
func ofRouting(call *ast.CallExpr) bool {
	function, ok := call.Fun.(*ast.SelectorExpr)
	switch {
	case !ok:
		return false
	case function.Sel.Name == "snippet":
		return len(call.Args) == 1
	case function.Sel.Name != "Snippet" || len(call.Args) != 3:
		return false
	}
	page, ok := call.Args[1].(*ast.Ident)
	return ok && page.Name == "routingPage"
}

// literals returns the texts in quotation marks in an expression.
func literals(expression ast.Expr) []string {
	var all []string
	ast.Inspect(expression, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if text, err := strconv.Unquote(literal.Value); err == nil {
				all = append(all, text)
			}
		}
		return true
	})
	return all
}

// exampleLines returns the lines of the examples for routing daemons, without their indents.
func exampleLines(t *testing.T) map[string]bool {
	t.Helper()
	lines := make(map[string]bool)
	for _, daemon := range []string{"frr", "bird"} {
		files, err := filepath.Glob(filepath.Join(root, "contrib", daemon, "*.conf"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				lines[strings.TrimSpace(line)] = true
			}
		}
	}
	return lines
}

// quotes reports whether each line of a block is among the lines.
func quotes(block string, lines map[string]bool) bool {
	for line := range strings.Lines(block) {
		if !lines[strings.TrimSpace(line)] {
			return false
		}
	}
	return true
}
