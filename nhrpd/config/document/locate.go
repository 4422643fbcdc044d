package document

import (
	"strconv"
	"strings"
)

// locate returns the line of every key and table of a TOML document, by Place.String. The library
// does not export these lines. Callers parse the document first: for invalid TOML locate returns no
// error, only fewer lines.
func locate(src string) map[string]int {
	l := &locator{src: src, line: 1, lines: map[string]int{}, lists: map[string]int{}}
	var table Place
	for l.skip(true); l.i < len(l.src); l.skip(true) {
		if l.peek() == '[' {
			table = l.header()
			continue
		}
		l.keyValue(table)
	}
	return l.lines
}

// locator reads a document once, from front to back.
type locator struct {
	src   string
	i     int
	line  int            // the line of src[i]
	lines map[string]int // the lines found so far
	lists map[string]int // the number of elements so far of each array of tables
}

// peek returns the next byte, or 0 at the end.
func (l *locator) peek() byte {
	if l.i >= len(l.src) {
		return 0
	}
	return l.src[l.i]
}

// advance moves forward by n bytes.
func (l *locator) advance(n int) {
	n = min(n, len(l.src)-l.i)
	l.line += strings.Count(l.src[l.i:l.i+n], "\n")
	l.i += n
}

// to moves forward to the first byte in set, or to the end.
func (l *locator) to(set string) {
	if n := strings.IndexAny(l.src[l.i:], set); n >= 0 {
		l.advance(n)
		return
	}
	l.advance(len(l.src))
}

// skip moves over blanks. With lines it also moves over comments and ends of lines.
func (l *locator) skip(lines bool) {
	for l.i < len(l.src) {
		switch c := l.peek(); {
		case c == ' ' || c == '\t':
			l.advance(1)
		case lines && (c == '\n' || c == '\r'):
			l.advance(1)
		case lines && c == '#':
			l.to("\n")
		default:
			return
		}
	}
}

// note records the line of a Place when it is first seen.
func (l *locator) note(at Place, line int) {
	if _, ok := l.lines[at.String()]; !ok {
		l.lines[at.String()] = line
	}
}

// header reads [a.b] or [[a.b]] and returns the table that it opens.
func (l *locator) header() Place {
	line := l.line
	l.advance(1)
	list := l.peek() == '['
	if list {
		l.advance(1)
	}
	var at Place
	names := l.dotted()
	for i, name := range names {
		at = at.Key(name)
		if n, ok := l.lists[at.String()]; ok && (i < len(names)-1 || !list) {
			at = at.Element(n - 1)
		}
		l.note(at, line)
	}
	if list {
		n := l.lists[at.String()]
		l.lists[at.String()] = n + 1
		at = at.Element(n)
		l.note(at, line)
	}
	l.to("\n")
	return at
}

// dotted reads a key of one or more parts.
func (l *locator) dotted() []string {
	var names []string
	for {
		l.skip(false)
		names = append(names, l.name())
		l.skip(false)
		if l.peek() != '.' {
			return names
		}
		l.advance(1)
	}
}

// name reads one part of a key, bare or quoted.
func (l *locator) name() string {
	start := l.i
	switch l.peek() {
	case '"':
		l.quoted()
		if s, err := strconv.Unquote(l.src[start:l.i]); err == nil {
			return s
		}
		return strings.Trim(l.src[start:l.i], `"`)
	case '\'':
		l.quoted()
		return strings.Trim(l.src[start:l.i], "'")
	}
	l.to(" \t\r\n.=]},#")
	return l.src[start:l.i]
}

// quoted moves over a string of any of TOML's four kinds.
func (l *locator) quoted() {
	quote := l.src[l.i : l.i+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(l.src[l.i:], triple) {
		quote = triple
	}
	l.advance(len(quote))
	for l.i < len(l.src) && !strings.HasPrefix(l.src[l.i:], quote) {
		if l.peek() == '\\' && quote[0] == '"' {
			l.advance(1)
		}
		l.advance(1)
	}
	l.advance(len(quote))
	// a multi-line string may end with one or two quotation marks of its own
	for len(quote) == 3 && l.peek() == quote[0] {
		l.advance(1)
	}
}

// keyValue reads one KEY = VALUE line of a table.
func (l *locator) keyValue(table Place) {
	start, line, at := l.i, l.line, table
	for _, name := range l.dotted() {
		at = at.Key(name)
		l.note(at, line)
	}
	if l.peek() == '=' {
		l.advance(1)
		l.value(at)
	}
	if l.i == start {
		l.advance(1)
	}
}

// value reads a value and notes the elements and keys in it.
func (l *locator) value(at Place) {
	l.skip(false)
	switch l.peek() {
	case '"', '\'':
		l.quoted()
	case '[':
		l.list(at)
	case '{':
		l.inline(at)
	default:
		l.to(",]}#\n")
	}
}

func (l *locator) list(at Place) {
	l.advance(1)
	for n := 0; ; n++ {
		l.skip(true)
		if c := l.peek(); c == ']' || c == 0 {
			break
		}
		l.note(at.Element(n), l.line)
		l.value(at.Element(n))
		if l.skip(true); l.peek() != ',' {
			break
		}
		l.advance(1)
	}
	l.advance(1)
}

func (l *locator) inline(at Place) {
	l.advance(1)
	for {
		l.skip(true)
		if c := l.peek(); c == '}' || c == 0 {
			break
		}
		l.keyValue(at)
		if l.skip(true); l.peek() != ',' {
			break
		}
		l.advance(1)
	}
	l.advance(1)
}
