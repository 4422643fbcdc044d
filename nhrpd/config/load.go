package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Load reads the configuration file and the secrets that it names, and checks everything. If
// anything is wrong, it returns no Config, and the error joins a *[Problem] for each fault. If a
// file cannot be opened, the error wraps the system's error.
func Load(path string) (*Config, error) {
	c, err := LoadFaulty(path)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// LoadFaulty is like Load, for callers that have to use as much of a faulty file as possible. It
// may return a Config together with the error; every faulty value in it is the default or zero. It
// returns no Config if the file does not exist or is not TOML.
func LoadFaulty(path string) (*Config, error) {
	f, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	c := &checker{file: path, read: readFile, legacyConf: "/etc/ipsec.conf"}
	return c.parse(f.data, f)
}

// Parse does what [Load] does, with data as the content of the file. It opens no other file:
// secrets that the configuration takes from files stay empty. The name stands for the file in
// messages.
func Parse(data []byte, name string) (*Config, error) {
	c := &checker{file: name}
	cfg, err := c.parse(data, nil)
	if err != nil {
		return nil, err
	}
	return cfg, nil
}

// parse checks data, which was read from the file of; of is nil if there is no file. parse may
// return a configuration together with an error, see [LoadFaulty].
func (c *checker) parse(data []byte, of *file) (*Config, error) {
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		return nil, c.syntax(data, err)
	}
	c.lines = locate(string(data))
	var raw rawFile
	c.decodeTable(nil, tree, reflect.ValueOf(&raw).Elem())
	c.checkAccess(of, &raw)

	cfg := &Config{Daemon: c.daemon(&raw.Daemon), Log: c.log(&raw.Log)}
	for _, name := range slices.Sorted(maps.Keys(raw.Interface)) {
		in := raw.Interface[name]
		cfg.Interfaces = append(cfg.Interfaces, c.iface(name, &in))
	}
	c.overlaps(cfg.Interfaces)
	if len(cfg.Interfaces) == 0 {
		c.warn(nil, "there is no [interface.NAME] table: the daemon has nothing to do")
	}
	cfg.Warnings, cfg.Obstacles = c.warnings, c.obstacles
	return cfg, c.err()
}

// typographic holds the quotation marks that pasted text may have instead of " and '.
const typographic = "“”„‟«»‘’‚‛"

// quoted matches the part of the parser's message that quotes the file. If somebody wrote a
// password without quotation marks, that part is the password.
var quoted = regexp.MustCompile(` but found "(?:[^"\\]|\\.)*" instead`)

// syntax turns the parser's error into a Problem. It removes what the parser quotes from the file,
// since that may be a password.
func (c *checker) syntax(data []byte, err error) error {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		return &Problem{File: c.file, Text: "not TOML: " + err.Error()}
	}
	p := &Problem{
		File: c.file, Line: parse.Position.Line,
		Text: "not TOML: " + quoted.ReplaceAllString(parse.Message, "; a string is written in quotes"),
	}
	lines := bytes.Split(data, []byte("\n"))
	if p.Line < 1 || p.Line > len(lines) {
		return p
	}
	line := string(lines[p.Line-1])
	if strings.ContainsAny(line, typographic) {
		p.Text = "not TOML: typographic quotes, which word processors and web pages put in the place of \"; write plain ones: key = \"value\""
	} else if strings.Contains(line, "authentication") {
		p.Text = "not TOML; a password is written in quotes: authentication = \"…\""
	} else if key := unquoted(line); key != "" {
		p.Text = "not TOML; a string is written in quotes: " + key + " = \"…\""
	}
	return p
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
