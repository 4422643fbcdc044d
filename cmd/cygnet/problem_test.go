package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"cygnet/nhrpd/api"
)

// The exit code of status is 0 only if nothing is wrong. It tells errors from warnings, with --json
// as well.
func TestStatusExitCode(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*api.Status)
		want   int
	}{
		{"nothing", func(*api.Status) {}, exitOK},
		{"unprotected", func(s *api.Status) { s.Interfaces[0].Protected = false }, exitWarning},
		{"down", func(s *api.Status) { s.Interfaces[0].Up = false }, exitWrong},
		{"both", func(s *api.Status) {
			s.Interfaces[0].Up, s.Interfaces[0].Protected = false,
				false
		}, exitWrong},
		{"advice", func(s *api.Status) { s.Advice = []string{"x"} }, exitOK},
	} {
		s := spoke()
		test.change(s)
		socket := start(t, &daemon{status: s})
		for _, flag := range []string{"--json=false", "--json"} {
			if code, out, errs := cygnet("status", flag, "--socket", socket); code != test.want ||
				out == "" || errs != "" {
				t.Errorf("%s %s: code %d, want %d: %s", test.name, flag, code, test.want, errs)
			}
		}
	}
}

// cygnet(1) explains every problem code.
func TestManPageHasEveryProblemCode(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../nhrpd/api/problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../packaging/man/cygnet.1")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n.Sh PROBLEMS\n")
	section, _, _ = strings.Cut(section, "\n.Sh ")
	codes := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if kind, named := typeName(spec); !ok || !named || kind != "ProblemCode" {
			return true
		}
		for _, v := range spec.Values {
			code, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes++
			if !strings.Contains(section, "\n.It Li "+code+"\n") {
				t.Errorf("the section PROBLEMS has no %s", code)
			}
		}
		return true
	})
	if codes == 0 {
		t.Error("there are no codes")
	}
}

func typeName(spec *ast.ValueSpec) (string, bool) {
	if spec == nil {
		return "", false
	}
	id, ok := spec.Type.(*ast.Ident)
	if !ok {
		return "", false
	}
	return id.Name, true
}
