package recording

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// delta is how a document differs from the one before it. The keys are JSON pointers (RFC 6901).
type delta struct {
	set   map[string]any
	unset []string
}

// generic returns a document as maps, lists and texts, with numbers as they are written.
func generic(document any) (any, error) {
	text, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	return v, d.Decode(&v)
}

// difference returns how one generic document differs from another.
func difference(from, to any) delta {
	d := delta{set: map[string]any{}}
	d.compare("", from, to)
	slices.Sort(d.unset)
	return d
}

// compare adds what differs at a place in two documents. A list of another length is set as a
// whole.
func (d *delta) compare(at string, from, to any) {
	switch t := to.(type) {
	case map[string]any:
		if f, ok := from.(map[string]any); ok {
			d.compareObjects(at, f, t)
			return
		}
	case []any:
		if f, ok := from.([]any); ok && len(f) == len(t) {
			for i := range t {
				d.compare(at+"/"+strconv.Itoa(i), f[i], t[i])
			}
			return
		}
	}
	if !reflect.DeepEqual(from, to) {
		d.set[at] = to
	}
}

// compareObjects is compare for objects.
func (d *delta) compareObjects(at string, from, to map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(to)) {
		place := at + "/" + escape.Replace(key)
		before, ok := from[key]
		if !ok {
			d.set[place] = to[key]
			continue
		}
		d.compare(place, before, to[key])
	}
	for key := range from {
		if _, ok := to[key]; !ok {
			d.unset = append(d.unset, at+"/"+escape.Replace(key))
		}
	}
}

// How a JSON pointer writes a key, and back.
var (
	escape   = strings.NewReplacer("~", "~0", "/", "~1")
	unescape = strings.NewReplacer("~1", "/", "~0", "~")
)

// apply changes a generic document by a delta. It returns the document.
func (d *delta) apply(document any) (any, error) {
	for place, value := range d.set {
		if place == "" {
			document = value
			continue
		}
		if err := change(document, place, func(object map[string]any, key string) {
			object[key] = value
		}, value); err != nil {
			return nil, err
		}
	}
	for _, place := range d.unset {
		if err := change(document, place, func(object map[string]any, key string) {
			delete(object, key)
		}, nil); err != nil {
			return nil, err
		}
	}
	return document, nil
}

// change calls f with the object that has the value at a place, or sets the value in a list.
func change(document any, place string, f func(map[string]any, string), value any) error {
	keys := strings.Split(strings.TrimPrefix(place, "/"), "/")
	for n, key := range keys {
		last := n == len(keys)-1
		switch v := document.(type) {
		case map[string]any:
			key = unescape.Replace(key)
			if last {
				f(v, key)
				return nil
			}
			document = v[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(v) {
				return fmt.Errorf("%s: the list has %d entries", place, len(v))
			}
			if last {
				v[i] = value
				return nil
			}
			document = v[i]
		default:
			return fmt.Errorf("%s: the document has no such place", place)
		}
	}
	return nil
}

// replace replaces a text in all texts of a document.
func replace[T any](document *T, old, with string) error {
	v, err := generic(document)
	if err != nil {
		return err
	}
	text, err := json.Marshal(replaced(v, old, with))
	if err != nil {
		return err
	}
	var fresh T
	if err := json.Unmarshal(text, &fresh); err != nil {
		return err
	}
	*document = fresh
	return nil
}

// replaced is replace for a generic document.
func replaced(document any, old, with string) any {
	switch v := document.(type) {
	case map[string]any:
		for key := range v {
			v[key] = replaced(v[key], old, with)
		}
	case []any:
		for i := range v {
			v[i] = replaced(v[i], old, with)
		}
	case string:
		return strings.ReplaceAll(v, old, with)
	}
	return document
}
