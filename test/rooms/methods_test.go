package rooms

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// mostMethods is how many methods a type may have. One with more keeps several things, each of
// which is a type of its own: its state, with the methods that keep it.
const mostMethods = 60

// larger are the types with more methods than that. Each has its number as its own limit, so that
// it does not grow; whoever takes methods away lowers the limit.
var larger = []struct {
	typ     string // the folder of its package, a dot, its name
	methods int
	reason  string
}{
	{"test/sim.node", 101, "the model of a host, whose parts act on each other at every step"},
	{"test/sim.world", 83, "the model of the network; each kind of fault, and each check of the " +
		"whole network, is a method"},
}

// Methods in test files do not count: they are the test's.
func TestMethods(t *testing.T) {
	count := methodsOfTypes(t)
	for _, l := range larger {
		switch n := count[l.typ]; {
		case n > l.methods:
			t.Errorf("%s has %d methods, want at most %d: give what is new a type of its own",
				l.typ, n, l.methods)
		case n <= mostMethods:
			t.Errorf("%s has %d methods: take it off the list of larger types", l.typ, n)
		case n < l.methods:
			t.Errorf("%s has %d methods: lower its limit of %d", l.typ, n, l.methods)
		}
		delete(count, l.typ)
	}
	for typ, n := range count {
		if n > mostMethods {
			t.Errorf("%s has %d methods, want at most %d: give a part of its state, and the methods "+
				"that keep that, a type of its own", typ, n, mostMethods)
		}
	}
}

// methodsOfTypes returns how many methods each type of the project has. A method with a variant for
// each platform counts once.
func methodsOfTypes(t *testing.T) map[string]int {
	t.Helper()
	const root = "../.."
	count, seen := make(map[string]int), make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		for _, decl := range file.Decls {
			f, is := decl.(*ast.FuncDecl)
			if !is || f.Recv == nil {
				continue
			}
			typ := filepath.ToSlash(folder) + "." + receiver(f.Recv.List[0].Type)
			if method := typ + "." + f.Name.Name; !seen[method] {
				seen[method] = true
				count[typ]++
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return count
}

// receiver returns the name of the type that a method has as its receiver.
func receiver(typ ast.Expr) string {
	switch typ := typ.(type) {
	case *ast.StarExpr:
		return receiver(typ.X)
	case *ast.IndexExpr: // with one type parameter
		return receiver(typ.X)
	case *ast.IndexListExpr:
		return receiver(typ.X)
	case *ast.Ident:
		return typ.Name
	}
	return ""
}
