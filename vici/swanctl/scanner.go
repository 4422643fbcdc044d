package swanctl

import (
	"fmt"
	"strings"
)

// kind is the kind of a token: a byte that stands for itself, or one of these.
type kind byte

const (
	end  kind = iota // the end of the last file
	word             // a name, or a part of a value
	stop             // the end of a value
)

func (k kind) String() string {
	switch k {
	case end:
		return "the end of the file"
	case word:
		return "a name"
	case stop:
		return "the end of a value"
	}
	return fmt.Sprintf("%q", rune(k))
}

// token is the smallest unit that the parser sees.
type token struct {
	kind kind
	text string
	at   Pos
}

// state is what the scanner is inside of. It decides what counts as a name.
type state byte

const (
	plain state = iota
	inReferences
	inValue
)

// scanner splits a file and the files that it includes into tokens. The content of an included file
// takes the place of the include: a section may even begin in one file and end in another.
type scanner struct {
	files    []*source // the innermost file is the last
	state    state
	budget   budget
	warnings []*Problem
}

const (
	blanks    = "\t\r "
	noName    = "#{}:.,=\"\r\n\t "
	noValue   = "#}\"\r\n\t "
	noPattern = "\"\\#}\r\n\t "
)

func newScanner(path string) (*scanner, error) {
	s := &scanner{}
	f, err := s.budget.read(path, Pos{File: path})
	if err != nil {
		return nil, err
	}
	if f == nil {
		return nil, problemf(Pos{File: path}, "not a regular file")
	}
	s.files = []*source{f}
	return s, nil
}

// next returns the next token.
func (s *scanner) next() (token, error) {
	for {
		f := s.files[len(s.files)-1]
		switch {
		case s.state == inValue:
			return s.value(f)
		case f.ended():
			more, err := s.leave(f)
			if err != nil || !more {
				return token{kind: end, at: f.pos()}, err
			}
		case strings.IndexByte(blanks+"\n", f.peek(0)) >= 0:
			f.advance(1)
		case f.peek(0) == '#':
			f.until("\n")
		case s.state == inReferences:
			if t, ok := s.reference(f); ok {
				return t, nil
			}
		case isInclude(f):
			if err := s.include(f); err != nil {
				return token{}, err
			}
		default:
			return s.plain(f)
		}
	}
}

func (s *scanner) plain(f *source) (token, error) {
	at := f.pos()
	switch c := f.peek(0); c {
	case '{', '}', '.', ',':
		f.advance(1)
		return token{kind: kind(c), at: at}, nil
	case ':':
		f.advance(1)
		s.state = inReferences
		return token{kind: ':', at: at}, nil
	case '=':
		f.advance(1)
		s.state = inValue
		return token{kind: '=', at: at}, nil
	case '"':
		return token{}, problemf(at, "a string where a name is expected; only values are quoted")
	}
	return token{word, f.until(noName), at}, nil
}

// reference reads a name, which may contain dots, or a comma. It reports false at anything else,
// where the references end.
func (s *scanner) reference(f *source) (token, bool) {
	at := f.pos()
	if f.peek(0) == ',' {
		f.advance(1)
		return token{kind: ',', at: at}, true
	}
	if strings.IndexByte(noName, f.peek(0)) >= 0 {
		s.state = plain
		return token{}, false
	}
	name := f.until(noName)
	for f.peek(0) == '.' && f.peek(1) != 0 && strings.IndexByte(noName, f.peek(1)) < 0 {
		name += f.advance(1) + f.until(noName)
	}
	return token{word, name, at}, true
}

// value reads a part of a value, or the end of the value: the end of the line or the file, a
// comment, or the end of the section.
func (s *scanner) value(f *source) (token, error) {
	for strings.IndexByte(blanks, f.peek(0)) >= 0 && !f.ended() {
		f.advance(1)
	}
	at := f.pos()
	switch {
	case f.ended() || strings.IndexByte("#}\n", f.peek(0)) >= 0:
		s.state = plain
		return token{kind: stop, at: at}, nil
	case f.peek(0) == '"':
		text, err := quoted(f)
		return token{word, text, at}, err
	}
	return token{word, f.until(noValue), at}, nil
}

// quoted reads a string. An escaped byte stands for itself, except for n, r and t; an escaped end
// of line is left out.
func quoted(f *source) (string, error) {
	at := f.pos()
	var b strings.Builder
	f.advance(1)
	for {
		b.WriteString(f.until("\\\r\""))
		switch {
		case f.ended(), f.peek(0) == '\\' && f.off+1 == len(f.text):
			return "", problemf(at, "a string without its closing quote")
		case f.peek(0) == '"':
			f.advance(1)
			return b.String(), nil
		case f.peek(0) == '\r':
			f.advance(1)
		default:
			f.advance(1)
			b.WriteString(escaped(f))
		}
	}
}

// escaped moves past the byte after a backslash and returns what it stands for.
func escaped(f *source) string {
	switch {
	case f.peek(0) == '\r' && f.peek(1) == '\n':
		f.advance(2)
		return ""
	case f.peek(0) == '\n':
		f.advance(1)
		return ""
	}
	switch c := f.advance(1); c {
	case "n":
		return "\n"
	case "r":
		return "\r"
	case "t":
		return "\t"
	default:
		return c
	}
}

// isInclude tells the statement include from a key of that name, after which at most one blank
// precedes the "=".
func isInclude(f *source) bool {
	rest, ok := strings.CutPrefix(f.text[f.off:], "include")
	if !ok {
		return false
	}
	pattern := strings.TrimLeft(rest, "\t ")
	blank := len(rest) - len(pattern)
	return blank > 1 || blank == 1 && pattern != "" && pattern[0] != '='
}

// include reads the pattern of file names and opens the first of the files.
func (s *scanner) include(f *source) error {
	f.advance(len("include"))
	for f.peek(0) == ' ' || f.peek(0) == '\t' {
		f.advance(1)
	}
	at := f.pos()
	pattern, err := includePattern(f)
	if err != nil {
		return err
	}
	if pattern == "" {
		return problemf(at, "include without a file name")
	}
	if f.include, err = matches(pattern, at); err != nil {
		return err
	}
	if len(f.include) == 0 && !strings.ContainsAny(pattern, "*?[") {
		s.warnings = append(s.warnings,
			problemf(at, "%s does not exist, so nothing is included", pattern))
	}
	f.at = at
	return s.enter(f)
}

func includePattern(f *source) (string, error) {
	var b strings.Builder
	for {
		b.WriteString(f.until(noPattern))
		switch c := f.peek(0); {
		case f.ended(), c == '#', c == '}', c == '\n':
			return b.String(), nil
		case c == ' ', c == '\t':
			f.advance(1)
			return b.String(), nil
		case c == '\r':
			f.advance(1)
		case c == '"':
			text, err := quoted(f)
			return b.String() + text, err
		default: // a backslash
			f.advance(1)
			if c := f.peek(0); c != 0 && strings.IndexByte("\"#} ", c) >= 0 {
				b.WriteString(f.advance(1))
			} else {
				b.WriteByte('\\')
			}
		}
	}
}

// enter opens the next file that an include named, if there is one.
func (s *scanner) enter(f *source) error {
	for len(f.include) > 0 {
		name := f.include[0]
		f.include = f.include[1:]
		if len(s.files) > maxIncludes {
			return problemf(f.at, "more than %d files include each other; perhaps one includes itself", maxIncludes)
		}
		next, err := s.budget.read(name, f.at)
		if err != nil {
			return err
		}
		if next != nil {
			s.files = append(s.files, next)
			return nil
		}
	}
	return nil
}

// leave continues after the end of a file: with the next file of the same include, or behind the
// include. It reports false at the end of the outermost file.
func (s *scanner) leave(f *source) (more bool, err error) {
	if len(s.files) == 1 {
		return false, nil
	}
	s.files = s.files[:len(s.files)-1]
	return true, s.enter(s.files[len(s.files)-1])
}
