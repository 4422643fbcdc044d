package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"cygnet/nhrpd/health"
)

// table is written with aligned columns. A column without a value in any row is left out; elsewhere "-" stands for no value.
type table struct {
	header []string
	rows   [][]string
}

func newTable(header ...string) *table { return &table{header: header} }

// row adds a row with a cell for each column.
func (t *table) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = cell(c)
	}
	t.rows = append(t.rows, row)
}

// cell makes text of a value. Zero addresses and the like are no value.
func cell(x any) string {
	switch x := x.(type) {
	case string:
		return clean(x)
	case interface {
		fmt.Stringer
		IsValid() bool
	}:
		if !x.IsValid() {
			return ""
		}
	}
	return clean(fmt.Sprint(x))
}

// clean keeps what peers and charon say, such as identities, from steering the terminal.
func clean(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	return strings.Trim(strconv.Quote(s), `"`)
}

// cleanLines is clean for a text of several lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

func (t *table) write(w io.Writer) error {
	var used []int
	for column := range t.header {
		for _, row := range t.rows {
			if row[column] != "" {
				used = append(used, column)
				break
			}
		}
	}
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range append([][]string{t.header}, t.rows...) {
		cells := make([]string, len(used))
		for i, column := range used {
			if cells[i] = row[column]; cells[i] == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	return tw.Flush()
}

// when says how far a time is from now; the zero time is no value.
func when(t, now time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case t.After(now):
		return "in " + health.Span(t.Sub(now))
	}
	return health.Span(now.Sub(t)) + " ago"
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// size writes a number of bytes in binary units.
func size(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	x, u := float64(n)/1024, 0
	for ; x >= 1023.95 && u < len(units)-1; u++ {
		x /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", x, units[u])
}
