package document

import (
	"bytes"
	"errors"
	"regexp"
	"strings"

	"github.com/BurntSushi/toml"
)

// typographic holds the quotation marks that pasted text may have instead of " and '.
const typographic = "“”„‟«»‘’‚‛"

// quoted matches the part of the parser's message that quotes the file. If somebody wrote a
// password without quotation marks, that part is the password.
var quoted = regexp.MustCompile(` but found "(?:[^"\\]|\\.)*" instead`)

// syntax turns the parser's error into a Problem. It removes what the parser quotes from the file,
// since that may be a secret. On a line with one of the keys that hold a secret, nothing of the
// parser's message is shown.
func syntax(name string, data []byte, err error, secrets []string) *Problem {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		return &Problem{File: name, Text: "not TOML: " + err.Error()}
	}
	p := &Problem{
		File: name, Line: parse.Position.Line,
		Text: "not TOML: " + quoted.ReplaceAllString(parse.Message, "; a string is written in quotes"),
	}
	lines := bytes.Split(data, []byte("\n"))
	if p.Line < 1 || p.Line > len(lines) {
		return p
	}
	line := string(lines[p.Line-1])
	if strings.ContainsAny(line, typographic) {
		p.Text = "not TOML: typographic quotes, which word processors and web pages put in the place of \"; write plain ones: key = \"value\""
	} else if key := firstOf(secrets, line); key != "" {
		p.Text = "not TOML; a secret is written in quotes: " + key + " = \"…\""
	} else if key := unquoted(line); key != "" {
		p.Text = "not TOML; a string is written in quotes: " + key + " = \"…\""
	}
	return p
}

// firstOf returns the first of the words that a line contains; "" if it contains none.
func firstOf(words []string, line string) string {
	for _, word := range words {
		if strings.Contains(line, word) {
			return word
		}
	}
	return ""
}

var (
	inQuotes  = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'[^']*'`)
	bareValue = regexp.MustCompile(`([A-Za-z0-9_-]+)\s*=\s*([^\s,"'{}\[\]=][^,"'{}\[\]=]*)`)
	bareTOML  = regexp.MustCompile(`^(?:true|false|[+-]?(?:0[xob])?[0-9a-fA-F_]+(?:\.[0-9_]+)?(?:[eE][+-]?[0-9_]+)?)$`)
)

// unquoted returns the key of the first value in a line that is neither quoted nor a number, true
// or false. It returns "" if there is none.
func unquoted(line string) string {
	line = inQuotes.ReplaceAllString(line, `""`)
	line, _, _ = strings.Cut(line, "#")
	for _, found := range bareValue.FindAllStringSubmatch(line, -1) {
		if !bareTOML.MatchString(strings.TrimSpace(found[2])) {
			return found[1]
		}
	}
	return ""
}
