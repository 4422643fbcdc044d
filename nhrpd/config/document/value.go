package document

import (
	"encoding"
	"fmt"
	"strconv"
	"time"
)

// OneOrMore is a setting that the document has as one string or as a list of strings. It is never
// empty if the document has it.
type OneOrMore []string

// Value is a setting as the document has it. T is string, bool, int64, []string, OneOrMore,
// map[string]any, [time.Duration], [NumberOrWord], or a type that decodes itself from a string as
// [encoding.TextUnmarshaler].
type Value[T any] struct {
	V   T     // the zero value unless Set
	At  Place // where the document has the key; nil if it does not
	Set bool  // the document has the key, and with a value of the right type
}

// fill sets v from the value x that the TOML parser read. If the type is wrong, it returns what is
// allowed.
func (v *Value[T]) fill(at Place, x any) (wrong string) {
	v.At = at
	switch dst := any(&v.V).(type) {
	case *string:
		return v.accept(fillAs(dst, x), "a string")
	case *bool:
		return v.accept(fillAs(dst, x), "true or false")
	case *int64:
		return v.accept(fillAs(dst, x), "an integer")
	case *map[string]any:
		return v.accept(fillAs(dst, x), "a table")
	case *NumberOrWord:
		return v.accept(dst.fill(x), "an integer or a word in quotes")
	case *[]string:
		return v.accept(fillStrings(dst, x), `a list of strings, such as ["…"]`)
	case *OneOrMore:
		return v.accept(fillOneOrMore(dst, x), `a string, or a list of strings such as ["…"]`)
	case *time.Duration:
		return v.accept(fillDuration(dst, x), durationAllowed(x))
	case encoding.TextUnmarshaler:
		s, ok := x.(string)
		return v.accept(ok && dst.UnmarshalText([]byte(s)) == nil, "a string")
	}
	panic(fmt.Sprintf("no setting has the type %T", v.V))
}

func (v *Value[T]) accept(ok bool, allowed string) string {
	v.Set = ok
	if ok {
		return ""
	}
	return allowed
}

// Present reports whether the document has the key, whether its value is right or wrong.
func (v *Value[T]) Present() bool { return v.At != nil }

func (v *Value[T]) place() Place { return v.At }

// Or returns the value, or the default if the document has none.
func (v *Value[T]) Or(def T) T {
	if v.Set {
		return v.V
	}
	return def
}

// NumberOrWord is a setting that is a number, or a word that stands for one.
type NumberOrWord struct {
	Number int64
	Word   string // empty: it is a number
}

func (n *NumberOrWord) fill(x any) bool {
	*n = NumberOrWord{}
	if fillAs(&n.Number, x) {
		return true
	}
	return fillAs(&n.Word, x) && n.Word != ""
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

func fillOneOrMore(dst *OneOrMore, x any) bool {
	if s, ok := x.(string); ok {
		*dst = OneOrMore{s}
		return true
	}
	return fillStrings((*[]string)(dst), x) && len(*dst) > 0
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
