package policy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Pattern matches IKE identities as charon prints them: host names, user@host, addresses and
// distinguished names. Like charon, it ignores case.
//
// A pattern is literal except for two things. A * stands for one or more characters: in a host name
// or user@host for any except @, in a distinguished name for any inside the value of one attribute.
// A pattern that is only * matches every identity. A capture such as {n} stands for a number of one
// to nine decimal digits, which the addresses and prefixes of the rule may use. A pattern has one *
// at most, in a distinguished name one in each attribute, and a capture never stands beside a
// digit, a * or another capture. An identity therefore matches in one way only.
type Pattern struct {
	text     string
	any      bool
	exact    string // canonical; empty: the pattern has a * or a capture
	segments []segment
	dn       bool
}

// segment is a pattern, or the pattern of one attribute of a distinguished name: the parts before
// its * and the parts after it.
type segment struct {
	head, tail []part
	star       bool
}

// part is a literal, or a capture by its name.
type part struct{ literal, capture string }

// Capture is a capture's name and the number that it matched.
type Capture struct {
	Name  string `json:"name"`
	Value uint32 `json:"value"`
}

// maxDigits is the most digits that a capture matches.
const maxDigits = 9

// ParsePattern reads a pattern. It returns an error if the pattern is not valid.
func ParsePattern(text string) (Pattern, error) {
	p := Pattern{text: text, any: strings.TrimSpace(text) == "*", dn: strings.Contains(text, "=")}
	if text == "" {
		return p, errors.New("is empty")
	}
	if p.any {
		return p, nil
	}
	if unprintable(text) >= 0 {
		return p, errors.New("has a ? or a letter outside ASCII; strongSwan shows every such letter " +
			"as ?, so that different routers would look the same: give them subjects without such letters, or subjectAltNames as their identities")
	}
	names := make(map[string]bool)
	for _, piece := range attributes(Canonical(text), p.dn) {
		s, err := parseSegment(piece, names)
		if err != nil {
			return p, err
		}
		p.segments = append(p.segments, s)
	}
	if !strings.ContainsAny(text, "*{") {
		p.exact = Canonical(text)
	}
	return p, nil
}

// attributes splits a distinguished name into its attributes. Any other identity is one part.
func attributes(canonical string, dn bool) []string {
	if !dn {
		return []string{canonical}
	}
	return strings.Split(canonical, ", ")
}

func parseSegment(text string, names map[string]bool) (segment, error) {
	var s segment
	head, tail, star := strings.Cut(text, "*")
	if strings.Contains(tail, "*") {
		return s, errors.New("has more than one *")
	}
	s.star = star
	var err error
	if s.head, err = parseParts(head, names); err != nil {
		return s, err
	}
	if s.tail, err = parseParts(tail, names); err != nil {
		return s, err
	}
	if star &&
		(len(s.head) > 0 && s.head[len(s.head)-1].capture != "" ||
			len(s.tail) > 0 && s.tail[0].capture != "") {
		return s, errors.New("has a capture beside the *, and where one ends could not be told")
	}
	return s, nil
}

func parseParts(text string, names map[string]bool) ([]part, error) {
	var parts []part
	for text != "" {
		literal, rest, open := strings.Cut(text, "{")
		if strings.Contains(literal, "}") {
			return nil, errors.New("has a } without its {")
		}
		if literal != "" {
			if len(parts) > 0 && isDigit(literal[0]) {
				return nil, errors.New("has a digit beside a capture, and where that ends could not be told")
			}
			parts = append(parts, part{literal: literal})
		}
		if !open {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		switch {
		case !closed || !captureName(name):
			return nil, errors.New("has a { that begins no capture: one is a word of letters in braces, such as {n}")
		case names[name]:
			return nil, fmt.Errorf("has the capture {%s} twice", name)
		case literal == "" && len(parts) > 0:
			return nil, errors.New("has two captures side by side, and where one ends could not be told")
		case literal != "" && isDigit(literal[len(literal)-1]):
			return nil, errors.New("has a digit beside a capture, and where that begins could not be told")
		}
		names[name] = true
		parts = append(parts, part{capture: name})
		text = after
	}
	return parts, nil
}

func captureName(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// String returns the pattern as written.
func (p Pattern) String() string { return p.text }

// Equal reports whether two patterns are written alike.
func (p Pattern) Equal(o Pattern) bool { return p.text == o.text }

// Captures returns the names of the pattern's captures, in order.
func (p Pattern) Captures() []string {
	var names []string
	for _, s := range p.segments {
		for _, part := range append(s.head[:len(s.head):len(s.head)], s.tail...) {
			if part.capture != "" {
				names = append(names, part.capture)
			}
		}
	}
	return names
}

// Match reports whether the pattern matches an identity, and returns what its captures matched.
func (p Pattern) Match(identity string) ([]Capture, bool) { return p.match(Canonical(identity)) }

func (p Pattern) match(canonical string) ([]Capture, bool) {
	switch {
	case p.any:
		return nil, canonical != ""
	case p.exact != "":
		return nil, p.exact == canonical
	case p.dn != strings.Contains(canonical, "="):
		return nil, false
	}
	pieces := attributes(canonical, p.dn)
	if len(pieces) != len(p.segments) {
		return nil, false
	}
	var captures []Capture
	for i, s := range p.segments {
		var ok bool
		if captures, ok = s.match(pieces[i], p.dn, captures); !ok {
			return nil, false
		}
	}
	return captures, true
}

func (s segment) match(text string, dn bool, captures []Capture) ([]Capture, bool) {
	ok := true
	for _, p := range s.head {
		if text, captures, ok = p.eat(text, captures); !ok {
			return nil, false
		}
	}
	if !s.star {
		return captures, text == ""
	}
	var last []Capture // captures after the *, found from the end
	for i := len(s.tail) - 1; i >= 0; i-- {
		if text, last, ok = s.tail[i].eatLast(text, last); !ok {
			return nil, false
		}
	}
	for i := len(last) - 1; i >= 0; i-- {
		captures = append(captures, last[i])
	}
	forbidden := "@,"
	if dn {
		forbidden = ",=+"
	}
	return captures, text != "" && !strings.ContainsAny(text, forbidden)
}

// eat removes what the part matches from the start of a text, and returns the rest and the
// captures.
func (p part) eat(text string, captures []Capture) (string, []Capture, bool) {
	if p.capture == "" {
		rest, ok := strings.CutPrefix(text, p.literal)
		return rest, captures, ok
	}
	n := 0
	for n < len(text) && isDigit(text[n]) {
		n++
	}
	captures, ok := p.captured(text[:n], captures)
	return text[n:], captures, ok
}

// eatLast removes what the part matches from the end of a text, and returns the rest and the
// captures.
func (p part) eatLast(text string, captures []Capture) (string, []Capture, bool) {
	if p.capture == "" {
		rest, ok := strings.CutSuffix(text, p.literal)
		return rest, captures, ok
	}
	n := len(text)
	for n > 0 && isDigit(text[n-1]) {
		n--
	}
	captures, ok := p.captured(text[n:], captures)
	return text[:n], captures, ok
}

func (p part) captured(digits string, captures []Capture) ([]Capture, bool) {
	if digits == "" || len(digits) > maxDigits {
		return captures, false
	}
	value, err := strconv.ParseUint(digits, 10, 32)
	return append(captures, Capture{Name: p.capture, Value: uint32(value)}), err == nil
}

// Canonical returns the canonical form of an identity: two identities that charon takes as the same
// have the same form. It is in lower case, with ", " between the attributes of a distinguished
// name.
func Canonical(identity string) string {
	identity = strings.TrimSpace(foldASCII(identity))
	if !strings.Contains(identity, "=") || !strings.Contains(identity, ",") {
		return identity
	}
	attributes := strings.Split(identity, ",")
	for i, a := range attributes {
		attributes[i] = strings.TrimSpace(a)
	}
	return strings.Join(attributes, ", ")
}

// foldASCII turns ASCII capitals into small letters and leaves every other byte as it is, as charon
// does. It works on bytes: an identity need not be valid UTF-8, and a conversion to runes would
// turn different invalid bytes into the same character.
func foldASCII(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r >= 'A' && r <= 'Z' }) < 0 {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
