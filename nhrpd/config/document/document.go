// Package document reads a TOML file into structs, and names the place of everything that is wrong
// in it.
//
// A struct stands for a table. Each key has a field with the tag `toml:"KEY"`, of one of these
// types:
//
//   - [Value]: a setting
//   - a struct, or a pointer to one: a table; the pointer stays nil if the file does not have it
//   - a map from strings to structs: tables that have names of the user's choice
//   - a slice of structs: a list of tables
//
// The tag `toml:"KEY,secret"` has messages not show what the file has there. A field At of the type
// [Place] gets the place of the table. It has no tag.
//
// Read reports keys that no field has and values of a wrong type. The caller reports what else is
// wrong with a value, by [Document.Report] and [Document.Warn].
package document

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/BurntSushi/toml"
)

// Document is a file that was read, with what is wrong in it.
type Document struct {
	Name string // the file, in messages
	// The faults found so far, and complete messages about what is allowed but probably not
	// intended. Both are in the order in which they were found. The caller may add those of other
	// files that the document names.
	Problems []*Problem
	Warnings []string

	lines map[string]int // by Place.String
	files files          // that the document consists of
}

// Read parses data and fills out, which points to a struct. The name stands for the file in
// messages. Read returns an error, a *[Problem], if data is not TOML. All other faults are in the
// document; where a value is wrong, out has none.
func Read(name string, data []byte, out any) (*Document, error) {
	return ReadFiles([]File{{name, data}}, out)
}

// ReadFiles is Read for a document that consists of several files, the first of which names it. All
// of them together are one TOML document, so no table and no key may be in two of them; a list of
// tables may. Each further file has to begin with a table.
func ReadFiles(list []File, out any) (*Document, error) {
	table := reflect.ValueOf(out).Elem()
	files, data, problem := join(list)
	if problem != nil {
		return nil, problem
	}
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		p := syntax(list[0].Name, data, err, secretKeys(table.Type()))
		p.File, p.Line = files.at(p.Line)
		return nil, p
	}
	d := &Document{Name: list[0].Name, lines: locate(string(data)), files: files}
	decoder{d, table.Type()}.table(nil, tree, table)
	return d, nil
}

// Report adds a problem at a place.
func (d *Document) Report(at Place, format string, args ...any) {
	d.Problems = append(d.Problems, d.problem(at, fmt.Sprintf(format, args...)))
}

// Warn adds a warning about a place.
func (d *Document) Warn(at Place, format string, args ...any) {
	d.Warnings = append(d.Warnings, d.problem(at, fmt.Sprintf(format, args...)).Error())
}

func (d *Document) problem(at Place, text string) *Problem {
	file, line := d.Where(at)
	return &Problem{File: file, Line: line, Key: at.String(), Text: text}
}

// Where returns the file of a place, and the line in it, counted from 1. For a place that the
// document does not have, it returns those of the innermost table around it; the first file and 0
// if there is none.
func (d *Document) Where(at Place) (file string, line int) {
	for ; len(at) > 0; at = at[:len(at)-1] {
		if line, ok := d.lines[at.String()]; ok {
			return d.files.at(line)
		}
	}
	return d.Name, 0
}

// Err joins the problems: those of the document in the order of the file, then those of other
// files. It returns nil if there are none.
func (d *Document) Err() error {
	slices.SortStableFunc(d.Problems, func(a, b *Problem) int {
		switch {
		case a.File == b.File:
			return cmp.Compare(a.Line, b.Line)
		case a.File == d.Name:
			return -1
		case b.File == d.Name:
			return 1
		}
		return cmp.Compare(a.File, b.File)
	})
	errs := make([]error, len(d.Problems))
	for i, p := range d.Problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}
