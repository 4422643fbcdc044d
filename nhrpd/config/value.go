package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// value is one setting as the file has it, and its place.
type value[T any] struct {
	v   T
	at  path
	set bool
}

// fill sets v from the value x that the TOML parser read. If the type is wrong, it returns what is
// allowed.
func (v *value[T]) fill(at path, x any) (wrong string) {
	v.at = at
	switch dst := any(&v.v).(type) {
	case *string:
		return v.accept(fillAs(dst, x), "a string")
	case *bool:
		return v.accept(fillAs(dst, x), "true or false")
	case *int64:
		return v.accept(fillAs(dst, x), "an integer")
	case *map[string]any:
		return v.accept(fillAs(dst, x), "a table")
	case *[]string:
		return v.accept(fillStrings(dst, x), `a list of strings, such as ["…"]`)
	case *time.Duration:
		return v.accept(fillDuration(dst, x), durationAllowed(x))
	case *Secret:
		s, ok := x.(string)
		*dst = Secret(s)
		return v.accept(ok, "a string")
	}
	panic(fmt.Sprintf("no configuration value of type %T", v.v))
}

func (v *value[T]) accept(ok bool, allowed string) string {
	v.set = ok
	if ok {
		return ""
	}
	return allowed
}

// present reports whether the file has the key, whether its value is right or wrong.
func (v *value[T]) present() bool { return v.at != nil }

// place returns where the file has the key; nil if it does not.
func (v *value[T]) place() path { return v.at }

// or returns the value, or the default if the file has none.
func (v *value[T]) or(def T) T {
	if v.set {
		return v.v
	}
	return def
}

func fillAs[T any](dst *T, x any) (ok bool) {
	*dst, ok = x.(T)
	return ok
}

func fillStrings(dst *[]string, x any) bool {
	elements, ok := x.([]any)
	if !ok {
		return false
	}
	for _, e := range elements {
		s, ok := e.(string)
		if !ok {
			return false
		}
		*dst = append(*dst, s)
	}
	return true
}

func fillDuration(dst *time.Duration, x any) bool {
	s, ok := x.(string)
	if !ok {
		return false
	}
	d, err := time.ParseDuration(s)
	*dst = d
	return err == nil
}

func durationAllowed(x any) string {
	const allowed = `a duration as a string with its unit, such as "10m" or "600s"`
	switch x := x.(type) {
	case int64:
		return fmt.Sprintf("%s; did you mean \"%ds\"?", allowed, x)
	case string:
		if _, err := strconv.ParseUint(x, 10, 32); err == nil {
			return fmt.Sprintf("%s; did you mean \"%ss\"?", allowed, x)
		}
	}
	return allowed
}

// describe returns what was found, for a message.
func describe(x any) string {
	switch x := x.(type) {
	case string:
		return quote(x)
	case bool, int64, float64:
		return fmt.Sprint(x)
	default:
		return kind(x)
	}
}

// kind returns what kind of value was found, without the value.
func kind(x any) string {
	switch x.(type) {
	case string:
		return "a string"
	case bool:
		return "true or false"
	case int64:
		return "an integer"
	case float64:
		return "a decimal number"
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "a list"
	}
	return "something else"
}

// quote makes a string printable and short, for a message.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}

func list(words []string) string { return strings.Join(words, ", ") }
