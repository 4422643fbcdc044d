package document

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// key is what a struct has for a key of its table.
type key struct {
	index  int // of the field that it fills
	secret bool
}

var fillerType = reflect.TypeFor[filler]()

// keysOf returns the keys of a struct's table.
func keysOf(t reflect.Type) map[string]key {
	keys := map[string]key{}
	for i := range t.NumField() {
		if name, option, _ := strings.Cut(t.Field(i).Tag.Get("toml"), ","); name != "" {
			keys[name] = key{i, option == "secret"}
		}
	}
	return keys
}

// isValue reports whether a field's type is a [Value].
func isValue(t reflect.Type) bool { return reflect.PointerTo(t).Implements(fillerType) }

// tableWith returns the table in which a misplaced key belongs: one below the struct t, which is
// for the table at, that has the key. It returns nil if there is none. Among tables with names of
// the user's choice it takes the one that the key was written in, or else [NAME]. Elements of lists
// do not count.
func tableWith(t reflect.Type, at, misplaced Place) Place {
	keys := keysOf(t)
	if _, ok := keys[misplaced.Last()]; ok && at != nil {
		return at
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		below, place := t.Field(keys[name].index).Type, at.Key(name)
		if below.Kind() == reflect.Map {
			chosen := "NAME"
			if n := len(place); len(misplaced) > n+1 && misplaced[:n].String() == place.String() {
				chosen = misplaced[n].name
			}
			below, place = below.Elem(), place.Key(chosen)
		}
		if below.Kind() == reflect.Pointer {
			below = below.Elem()
		}
		if below.Kind() != reflect.Struct || isValue(below) {
			continue
		}
		if found := tableWith(below, place, misplaced); found != nil {
			return found
		}
	}
	return nil
}

// secretKeys returns the keys that may hold a secret, in all tables below a struct. A key that
// begins with another one comes before that.
func secretKeys(t reflect.Type) []string {
	var all []string
	for name, k := range keysOf(t) {
		if k.secret {
			all = append(all, name)
		}
		below := t.Field(k.index).Type
		for kind := below.Kind(); kind == reflect.Map || kind == reflect.Pointer ||
			kind == reflect.Slice; kind = below.Kind() {
			below = below.Elem()
		}
		if below.Kind() == reflect.Struct && !isValue(below) {
			all = append(all, secretKeys(below)...)
		}
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Compare(b, a) })
	return slices.Compact(all)
}

// Present returns the places of the values of a table that the document has, whether they are right
// or wrong, in the order of their keys. It takes a pointer to the table's struct.
func Present(table any) []Place {
	fields := reflect.ValueOf(table).Elem()
	keys := keysOf(fields.Type())
	var all []Place
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		v, ok := fields.Field(keys[name].index).Addr().Interface().(interface{ place() Place })
		if ok && v.place() != nil {
			all = append(all, v.place())
		}
	}
	return all
}
