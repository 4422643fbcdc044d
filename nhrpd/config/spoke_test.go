package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// spokeWith changes the smallest spoke. Each line of changes replaces the line with the same key in
// its table, or is added to the table. A key without a value removes the line, and "-" removes the
// whole table.
func spokeWith(changes string) string {
	order := []string{"[interface.gre1]", "[interface.gre1.ipsec]"}
	tables := map[string][]string{}
	table := ""
	for line := range strings.Lines(spoke) {
		line = strings.TrimSpace(line)
		if slices.Contains(order, line) {
			table = line
		} else if line != "" {
			tables[table] = append(tables[table], line)
		}
	}
	table = order[0]
	for line := range strings.SplitSeq(changes, "\n") {
		if strings.HasPrefix(line, "[") {
			if table = line; !slices.Contains(order, line) {
				order = append(order, line)
			}
			continue
		}
		if line == "-" {
			order = slices.DeleteFunc(order, func(s string) bool { return s == table })
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		tables[table] = slices.DeleteFunc(tables[table], func(s string) bool {
			old, _, _ := strings.Cut(s, "=")
			return strings.TrimSpace(old) == strings.TrimSpace(key)
		})
		if value != "" {
			tables[table] = append(tables[table], line)
		}
	}
	var b strings.Builder
	for _, table := range order {
		b.WriteString(table + "\n" + strings.Join(tables[table], "\n") + "\n\n")
	}
	return b.String()
}

// problemsOf returns the Problems that an error of Parse or Load joins.
func problemsOf(t *testing.T, err error) []*Problem {
	t.Helper()
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*Problem
		for _, e := range joined.Unwrap() {
			all = append(all, problemsOf(t, e)...)
		}
		return all
	}
	var p *Problem
	if !errors.As(err, &p) {
		t.Fatalf("%v is no Problem", err)
	}
	return []*Problem{p}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }
