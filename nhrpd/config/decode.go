package config

import (
	"maps"
	"reflect"
	"slices"
)

// The TOML library stops at the first value of a wrong type and does not suggest what a misspelt
// key may mean. So the library only parses, and this file fills the raw types, by their tags.

type filler interface {
	fill(at path, x any) (wrong string)
}

var pathType = reflect.TypeFor[path]()

// decodeTable fills the raw struct out from a table.
func (c *checker) decodeTable(at path, in map[string]any, out reflect.Value) {
	fields := keysOf(out.Type())
	for _, key := range slices.Sorted(maps.Keys(in)) {
		i, ok := fields[key]
		if !ok {
			c.unknown(at.key(key), slices.Sorted(maps.Keys(fields)))
			continue
		}
		c.decodeField(at.key(key), in[key], out.Field(i))
	}
	if f := out.FieldByName("At"); f.IsValid() && f.Type() == pathType {
		f.Set(reflect.ValueOf(at))
	}
}

func (c *checker) decodeField(at path, x any, out reflect.Value) {
	if f, ok := out.Addr().Interface().(filler); ok {
		if wrong := f.fill(at, x); wrong != "" {
			c.problem(at, "found %s, allowed is %s", found(at, x), wrong)
		}
		return
	}
	switch out.Kind() {
	case reflect.Pointer:
		out.Set(reflect.New(out.Type().Elem()))
		c.decodeField(at, x, out.Elem())
	case reflect.Struct:
		if in, ok := x.(map[string]any); ok {
			c.decodeTable(at, in, out)
			return
		}
		c.problem(at, "found %s, allowed is a table: [%s]", describe(x), at)
	case reflect.Map:
		c.decodeNamed(at, x, out)
	case reflect.Slice:
		c.decodeList(at, x, out)
	}
}

// secrets lists the keys that hold a secret, and the keys that hold a file name where somebody may
// write the secret itself.
var secrets = []string{"authentication", "authentication_file", "psk_file"}

// found describes a value, unless it may be a secret.
func found(at path, x any) string {
	if slices.Contains(secrets, at.last()) {
		return kind(x)
	}
	return describe(x)
}

// decodeNamed fills a map of raw structs from tables that have names of the user's choice.
func (c *checker) decodeNamed(at path, x any, out reflect.Value) {
	in, ok := x.(map[string]any)
	if !ok {
		c.problem(at, "found %s, allowed are tables with a name: [%s.NAME]", describe(x), at)
		return
	}
	out.Set(reflect.MakeMap(out.Type()))
	for _, name := range slices.Sorted(maps.Keys(in)) {
		table, ok := in[name].(map[string]any)
		if !ok {
			c.problem(at.key(name), "found %s, allowed is a table: [%s]",
				describe(in[name]), at.key(name))
			continue
		}
		element := reflect.New(out.Type().Elem()).Elem()
		c.decodeTable(at.key(name), table, element)
		out.SetMapIndex(reflect.ValueOf(name), element)
	}
}

// decodeList fills a slice of raw structs from a list of tables.
func (c *checker) decodeList(at path, x any, out reflect.Value) {
	elements, ok := listOf(x)
	if !ok {
		c.problem(at, "found %s, allowed is a list of tables: %s = [{ … }]", describe(x), at.last())
		return
	}
	for i, e := range elements {
		in, ok := e.(map[string]any)
		if !ok {
			c.problem(at.element(i), "found %s, allowed is a table: { … }", describe(e))
			continue
		}
		element := reflect.New(out.Type().Elem()).Elem()
		c.decodeTable(at.element(i), in, element)
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

// keysOf returns, for each key of a raw struct's table, the index of the field that it fills.
func keysOf(t reflect.Type) map[string]int {
	keys := map[string]int{}
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("toml"); key != "" {
			keys[key] = i
		}
	}
	return keys
}

// unknown reports a key that does not exist in its table.
func (c *checker) unknown(at path, known []string) {
	if near := Nearest(at.last(), known); near != "" {
		c.problem(at, "unknown key; did you mean %s?", quote(near))
		return
	}
	if other := tableOf(at); other != "" {
		c.problem(at, "unknown key; it belongs in [%s]", other)
		return
	}
	c.problem(at, "unknown key; allowed here: %s", list(known))
}

// tableOf returns the table that a misplaced key belongs in, relative to the place where it was
// written.
func tableOf(at path) string {
	iface := "interface.NAME"
	if len(at) > 2 && at[0].name == "interface" {
		iface = at[:2].String()
	}
	tables := []struct {
		name string
		raw  reflect.Type
	}{
		{iface, reflect.TypeFor[rawInterface]()},
		{iface + ".ipsec", reflect.TypeFor[rawIPsec]()},
		{iface + ".limits", reflect.TypeFor[rawLimits]()},
		{"daemon", reflect.TypeFor[rawDaemon]()},
		{"log", reflect.TypeFor[rawLog]()},
	}
	for _, t := range tables {
		if _, ok := keysOf(t.raw)[at.last()]; ok {
			return t.name
		}
	}
	return ""
}
