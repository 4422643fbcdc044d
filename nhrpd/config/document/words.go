package document

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cygnet/nhrpd/nearest"
)

// describe returns what was found, for a message.
func describe(x any) string {
	switch x := x.(type) {
	case string:
		return Quote(x)
	case bool, int64, float64:
		return fmt.Sprint(x)
	default:
		return Kind(x)
	}
}

// Kind returns what kind of value x is, without the value, for a message. x is as the TOML library
// decodes it into an any.
func Kind(x any) string {
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

// Quote makes a string printable and short, for a message.
func Quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}

// DidYouMean returns the end of a message about a word that is not allowed: the allowed word that
// was probably meant, or all of them.
func DidYouMean(word string, allowed []string) string {
	if near := nearest.Word(word, allowed); near != "" {
		return "; did you mean " + Quote(near) + "?"
	}
	return "; allowed: " + list(slices.Sorted(slices.Values(allowed)))
}

func list(words []string) string { return strings.Join(words, ", ") }
