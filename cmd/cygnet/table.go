package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"
)

// table is a table with aligned columns. A column without a value in any row is left out. Elsewhere
// "-" stands for a missing value.
type table struct {
	columns []column
	rows    [][]any
}

// column is a column of a table. Some columns are shown only in the wide form.
type column struct {
	name string
	wide bool
}

// narrowWidth is the width that the narrow form of a table fits into, in characters.
const narrowWidth = 80

// newTable returns a table with columns of these names. A column whose name ends with + is shown
// only in the wide form.
func newTable(names ...string) *table {
	t := &table{}
	for _, name := range names {
		short, wide := strings.CutSuffix(name, "+")
		t.columns = append(t.columns, column{short, wide})
	}
	return t
}

// row adds a row, with one cell for each column.
func (t *table) row(cells ...any) { t.rows = append(t.rows, cells) }

// cell formats a value. A zero address or the like counts as missing, and the result is "".
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

// clean removes from text that peers and charon choose, such as identities, the characters that
// control a terminal.
func clean(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	return strings.Trim(strconv.Quote(s), `"`)
}

// cleanLines does the same for a text of several lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

// write writes the table, with all columns or with those that fit a terminal.
func (t *table) write(w io.Writer, wide bool) error {
	var used []int
	for n, c := range t.columns {
		if (wide || !c.wide) && t.hasValue(n) {
			used = append(used, n)
		}
	}
	rows := [][]string{make([]string, len(used))}
	for i, n := range used {
		rows[0][i] = t.columns[n].name
	}
	for _, row := range t.rows {
		texts := make([]string, len(used))
		for i, n := range used {
			if texts[i] = cell(row[n]); texts[i] == "" {
				texts[i] = "-"
			}
		}
		rows = append(rows, texts)
	}
	if !wide {
		shorten(rows, narrowWidth)
	}
	tw := tabwriter.NewWriter(w, 0, 8, gap, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}

func (t *table) hasValue(n int) bool {
	return slices.ContainsFunc(t.rows, func(row []any) bool { return cell(row[n]) != "" })
}

const (
	gap      = 2 // spaces between columns
	shortest = 6 // the least width that a column is cut to
)

// shorten cuts the widest columns until every row fits, and marks what it cuts.
func shorten(rows [][]string, width int) {
	widths := make([]int, len(rows[0]))
	total := -gap
	for i := range widths {
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
		total += widths[i] + gap
	}
	for ; total > width; total-- {
		widest := 0
		for i := range widths {
			if widths[i] >= widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= shortest {
			break
		}
		widths[widest]--
	}
	for _, row := range rows {
		for i := range row {
			if r := []rune(row[i]); len(r) > widths[i] {
				row[i] = string(r[:widths[i]-1]) + "…"
			}
		}
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}
