package document

import (
	"maps"
	"reflect"
	"slices"

	"cygnet/nhrpd/nearest"
)

// The TOML library stops at the first value of a wrong type and does not suggest what a misspelt
// key may mean. So the library only parses, and this file fills the structs, by their tags.

// decoder fills structs from the tree that the library parsed, and reports what does not fit.
type decoder struct {
	*Document
	root reflect.Type // the struct for the whole document
}

// filler is implemented by [Value] for every type of setting.
type filler interface {
	fill(at Place, x any) (wrong string)
}

var placeType = reflect.TypeFor[Place]()

// table fills the struct out from a table.
func (d decoder) table(at Place, in map[string]any, out reflect.Value) {
	fields := keysOf(out.Type())
	for _, key := range slices.Sorted(maps.Keys(in)) {
		f, ok := fields[key]
		if !ok {
			d.unknown(at.Key(key), slices.Sorted(maps.Keys(fields)))
			continue
		}
		d.field(at.Key(key), in[key], out.Field(f.index), f.secret)
	}
	if f := out.FieldByName("At"); f.IsValid() && f.Type() == placeType {
		f.Set(reflect.ValueOf(at))
	}
}

// field fills the field of a key.
func (d decoder) field(at Place, x any, out reflect.Value, secret bool) {
	if f, ok := out.Addr().Interface().(filler); ok {
		if wrong := f.fill(at, x); wrong != "" {
			d.Report(at, "found %s, allowed is %s", found(x, secret), wrong)
		}
		return
	}
	switch out.Kind() {
	case reflect.Pointer:
		out.Set(reflect.New(out.Type().Elem()))
		d.field(at, x, out.Elem(), secret)
	case reflect.Struct:
		if in, ok := x.(map[string]any); ok {
			d.table(at, in, out)
			return
		}
		d.Report(at, "found %s, allowed is a table: [%s]", describe(x), at)
	case reflect.Map:
		d.named(at, x, out)
	case reflect.Slice:
		d.list(at, x, out)
	}
}

// found describes a value, unless it may be a secret.
func found(x any, secret bool) string {
	if secret {
		return Kind(x)
	}
	return describe(x)
}

// named fills a map of structs from tables that have names of the user's choice.
func (d decoder) named(at Place, x any, out reflect.Value) {
	in, ok := x.(map[string]any)
	if !ok {
		d.Report(at, "found %s, allowed are tables with a name: [%s.NAME]", describe(x), at)
		return
	}
	out.Set(reflect.MakeMap(out.Type()))
	for _, name := range slices.Sorted(maps.Keys(in)) {
		table, ok := in[name].(map[string]any)
		if !ok {
			d.Report(at.Key(name), "found %s, allowed is a table: [%s]",
				describe(in[name]), at.Key(name))
			continue
		}
		element := reflect.New(out.Type().Elem()).Elem()
		d.table(at.Key(name), table, element)
		out.SetMapIndex(reflect.ValueOf(name), element)
	}
}

// list fills a slice of structs from a list of tables.
func (d decoder) list(at Place, x any, out reflect.Value) {
	elements, ok := listOf(x)
	if !ok {
		d.Report(at, "found %s, allowed is a list of tables: %s = [{ … }]", describe(x), at.Last())
		return
	}
	for i, e := range elements {
		in, ok := e.(map[string]any)
		if !ok {
			d.Report(at.Element(i), "found %s, allowed is a table: { … }", describe(e))
			continue
		}
		element := reflect.New(out.Type().Elem()).Elem()
		d.table(at.Element(i), in, element)
		out.Set(reflect.Append(out, element))
	}
}

// listOf returns the elements of a list, whether it is written inline or as [[…]] tables.
func listOf(x any) ([]any, bool) {
	switch x := x.(type) {
	case []any:
		return x, true
	case []map[string]any:
		elements := make([]any, len(x))
		for i, e := range x {
			elements[i] = e
		}
		return elements, true
	}
	return nil, false
}

// unknown reports a key that does not exist in its table.
func (d decoder) unknown(at Place, known []string) {
	if near := nearest.Word(at.Last(), known); near != "" {
		d.Report(at, "unknown key; did you mean %s?", Quote(near))
		return
	}
	if other := tableWith(d.root, nil, at); other != nil {
		d.Report(at, "unknown key; it belongs in [%s]", other)
		return
	}
	d.Report(at, "unknown key; allowed here: %s", list(known))
}
