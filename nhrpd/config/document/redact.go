package document

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"github.com/BurntSushi/toml"
)

// What stands in the place of a value that [WithoutSecrets] does not show.
const (
	hiddenSecret = "(secret)"
	hiddenKey    = "(not shown: the key is not known)"
)

// WithoutSecrets returns a document for the eyes of others: the tables and keys of data that out, a
// pointer to a struct, has fields for. Values of keys with the option secret are hidden, as are
// those of keys that out does not know: such a key may be a mistyped one. Comments are left out,
// since they may hold anything. The error for data that is not TOML shows nothing of it.
func WithoutSecrets(data []byte, out any) ([]byte, error) {
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		return nil, errors.New("it is not TOML, and is not shown since nobody can tell what in it is a secret")
	}
	hideIn(tree, reflect.TypeOf(out).Elem())
	var shown bytes.Buffer
	if err := toml.NewEncoder(&shown).Encode(tree); err != nil {
		return nil, fmt.Errorf("write the document without its secrets: %w", err)
	}
	return shown.Bytes(), nil
}

// hideIn hides what a table must not show. t is the struct for the table.
func hideIn(table map[string]any, t reflect.Type) {
	keys := keysOf(t)
	for name, x := range table {
		switch k, known := keys[name]; {
		case !known:
			table[name] = hiddenKey
		case k.secret:
			table[name] = hiddenSecret
		default:
			table[name] = hide(x, t.Field(k.index).Type)
		}
	}
}

// hide returns a value as it is shown. t is the type of its field.
func hide(x any, t reflect.Type) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if isValue(t) {
		v, has := t.FieldByName("V")
		if _, table := x.(map[string]any); table && !(has && v.Type.Kind() == reflect.Map) {
			return hiddenKey
		}
		return x
	}
	switch in := x.(type) {
	case map[string]any:
		if t.Kind() == reflect.Struct {
			hideIn(in, t)
			return in
		}
		if t.Kind() == reflect.Map {
			for name := range in {
				in[name] = hide(in[name], t.Elem())
			}
			return in
		}
	case []map[string]any:
		if t.Kind() == reflect.Slice {
			for i := range in {
				hideIn(in[i], t.Elem())
			}
			return in
		}
	case []any:
		if t.Kind() == reflect.Slice {
			for i := range in {
				in[i] = hide(in[i], t.Elem())
			}
			return in
		}
	}
	return hiddenKey
}
