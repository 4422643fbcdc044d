package main

import (
	"go/ast"
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"
)

// testFunctions yields the names of a file's tests: functions TestXxx with one parameter, except
// TestMain.
func testFunctions(file *ast.File) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || f.Type.Params.NumFields() != 1 || !isTestName(f.Name.Name) {
				continue
			}
			if !yield(f.Name.Name) {
				return
			}
		}
	}
}

func isTestName(name string) bool {
	rest, ok := strings.CutPrefix(name, "Test")
	first, _ := utf8.DecodeRuneInString(rest)
	return ok && name != "TestMain" && !unicode.IsLower(first)
}
