package document

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// settings has a key of each kind.
type settings struct {
	At Place

	Word         Value[string]         `toml:"word"`
	Number       Value[int64]          `toml:"number"`
	Switch       Value[bool]           `toml:"switch"`
	Time         Value[time.Duration]  `toml:"time"`
	Words        Value[[]string]       `toml:"words"`
	Single       Value[OneOrMore]      `toml:"single"`
	Several      Value[OneOrMore]      `toml:"several"`
	Free         Value[map[string]any] `toml:"free"`
	Password     Value[password]       `toml:"password,secret"`
	PasswordFile Value[string]         `toml:"password_file,secret"`
	Table        one                   `toml:"table"`
	Optional     *one                  `toml:"optional"`
	Tables       map[string]one        `toml:"tables"`
	List         []one                 `toml:"list"`
}

type one struct {
	At Place

	Name   Value[string] `toml:"name"`
	Secret Value[string] `toml:"secret,secret"`
	Deep   deep          `toml:"deep"`
}

type deep struct {
	Depth Value[int64] `toml:"depth"`
}

// password decodes itself.
type password string

func (p *password) UnmarshalText(text []byte) error {
	*p = password(text)
	return nil
}

// read reads a document that is TOML.
func read(t *testing.T, text string) (*Document, settings) {
	t.Helper()
	var s settings
	d, err := Read("F", []byte(text), &s)
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return d, s
}

// Every kind of key is filled, with its place.
func TestEveryKind(t *testing.T) {
	d, s := read(t, `word = "a"
number = 1
switch = true
time = "1m"
words = ["b", "c"]
single = "d"
several = ["e", "f"]
free = { x = 1 }
password = "p"
[table]
name = "in a table"
[optional]
name = "in a table that may be left out"
[tables.one]
name = "in a table with a name"
[[list]]
name = "in the first"
[[list]]
name = "in the second"
`)
	if err := d.Err(); err != nil || len(d.Warnings) > 0 {
		t.Fatalf("%v, warnings %q", err, d.Warnings)
	}
	if s.Word.V != "a" || s.Number.V != 1 || !s.Switch.V || s.Time.V != time.Minute ||
		s.Password.V != "p" || !s.Password.Set || s.PasswordFile.Set {
		t.Errorf("values %+v", s)
	}
	if diff := cmp.Diff([]string{"b", "c"}, s.Words.V); diff != "" {
		t.Errorf("list of strings: want (-), have (+):\n%s", diff)
	}
	oneOrMore := []OneOrMore{s.Single.V, s.Several.V}
	if diff := cmp.Diff([]OneOrMore{{"d"}, {"e", "f"}}, oneOrMore); diff != "" {
		t.Errorf("a string, and a list in its place: want (-), have (+):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"x": int64(1)}, s.Free.V); diff != "" {
		t.Errorf("free table: want (-), have (+):\n%s", diff)
	}
	if s.Optional == nil || len(s.List) != 2 {
		t.Fatalf("tables %+v", s)
	}
	for _, found := range []struct {
		in          Value[string]
		table       Place
		name, place string
		line        int
	}{
		{s.Word, s.At, "a", "word", 1},
		{s.Table.Name, s.Table.At, "in a table", "table.name", 11},
		{s.Optional.Name, s.Optional.At, "in a table that may be left out", "optional.name", 13},
		{s.Tables["one"].Name, s.Tables["one"].At, "in a table with a name", "tables.one.name", 15},
		{s.List[0].Name, s.List[0].At, "in the first", "list[0].name", 17},
		{s.List[1].Name, s.List[1].At, "in the second", "list[1].name", 19},
	} {
		_, line := d.Where(found.in.At)
		if found.in.V != found.name || found.in.At.String() != found.place ||
			line != found.line {
			t.Errorf("want %q at %s in line %d, have %q at %s in line %d", found.name, found.place,
				found.line, found.in.V, found.in.At, line)
		}
		if at := found.table.Key(found.in.At.Last()); at.String() != found.place {
			t.Errorf("the place of the table of %s is %s", found.place, found.table)
		}
	}
}

// What the document does not have is neither present nor set, and has no place. A value of a wrong
// type is present and not set.
func TestPresent(t *testing.T) {
	_, s := read(t, "number = \"1\"\nword = \"a\"\n")
	for _, v := range []struct {
		name         string
		present, set bool
		want         [2]bool
	}{
		{"word", s.Word.Present(), s.Word.Set, [2]bool{true, true}},
		{"number", s.Number.Present(), s.Number.Set, [2]bool{true, false}},
		{"switch", s.Switch.Present(), s.Switch.Set, [2]bool{false, false}},
	} {
		if have := [2]bool{v.present, v.set}; have != v.want {
			t.Errorf("%s: want present and set %v, have %v", v.name, v.want, have)
		}
	}
	if s.Optional != nil {
		t.Errorf("want no table that the document does not have, have %+v", s.Optional)
	}
	if s.Word.Or("b") != "a" || s.Number.Or(7) != 7 {
		t.Errorf("want the value, or the default in place of a wrong one, have %s and %d",
			s.Word.Or("b"), s.Number.Or(7))
	}
	var keys []string
	for _, at := range Present(&s) {
		keys = append(keys, at.String())
	}
	if got := strings.Join(keys, " "); got != "number word" {
		t.Errorf("want the keys number and word present, have %s", got)
	}
}

// Each fault is reported with its place, what was found and what is allowed. A value that may be a
// secret is not shown.
func TestFaults(t *testing.T) {
	for _, f := range []struct{ text, want string }{
		{`wort = 1`, `F:1: wort: unknown key; did you mean "word"?`},
		{`[table]
x = 1`, `F:2: table.x: unknown key; allowed here: deep, name, secret`},
		{`[table]
number = 1`, `F:2: table.number: unknown key; allowed here: deep, name, secret`},
		{`depth = 1`, `F:1: depth: unknown key; it belongs in [optional.deep]`},
		{`secret = 1`, `F:1: secret: unknown key; it belongs in [optional]`},
		{`word = 1`, `F:1: word: found 1, allowed is a string`},
		{`word = 2020-01-01`, `F:1: word: found a date or time, allowed is a string`},
		{`number = "1"`, `F:1: number: found "1", allowed is an integer`},
		{`number = 1.5`, `F:1: number: found 1.5, allowed is an integer`},
		{`switch = "yes"`, `F:1: switch: found "yes", allowed is true or false`},
		{`free = []`, `F:1: free: found a list, allowed is a table`},
		{`words = "a"`, `F:1: words: found "a", allowed is a list of strings, such as ["…"]`},
		{`words = ["a", 1]`,
			`F:1: words: found a list, allowed is a list of strings, such as ["…"]`},
		{`several = []`,
			`F:1: several: found a list, allowed is a string, or a list of strings such as ["…"]`},
		{`several = 1`,
			`F:1: several: found 1, allowed is a string, or a list of strings such as ["…"]`},
		{`time = 60`, `F:1: time: found 60, allowed is a duration as a string with its unit, such as "10m" or "600s"; did you mean "60s"?`},
		{`time = "60"`, `F:1: time: found "60", allowed is a duration as a string with its unit, such as "10m" or "600s"; did you mean "60s"?`},
		{`time = "soon"`, `F:1: time: found "soon", allowed is a duration as a string with its unit, such as "10m" or "600s"`},
		{`time = true`, `F:1: time: found true, allowed is a duration as a string with its unit, such as "10m" or "600s"`},
		{`password = 1977`, `F:1: password: found an integer, allowed is a string`},
		{`password_file = ["1977"]`, `F:1: password_file: found a list, allowed is a string`},
		{`table = 1`, `F:1: table: found 1, allowed is a table: [table]`},
		{`optional = "` + strings.Repeat("x", 90) + `"`, `F:1: optional: found "` +
			strings.Repeat("x", 80) + `"…, allowed is a table: [optional]`},
		{`tables = 1`, `F:1: tables: found 1, allowed are tables with a name: [tables.NAME]`},
		{`[tables]
a = true`, `F:2: tables.a: found true, allowed is a table: [tables.a]`},
		{`list = {}`, `F:1: list: found a table, allowed is a list of tables: list = [{ … }]`},
		{`list = [{}, 1]`, `F:1: list[1]: found 1, allowed is a table: { … }`},
	} {
		d, _ := read(t, f.text)
		if err := d.Err(); err == nil || err.Error() != f.want {
			t.Errorf("%s\nwant %s\nhave %v", f.text, f.want, err)
		}
	}
}

// A key in the wrong table is said to belong in the one that has it: of tables with names of the
// user's choice in that where it was written, or else in any.
func TestMisplacedKeyNamesItsTable(t *testing.T) {
	type chosen struct {
		Inner one `toml:"inner"`
	}
	type document struct {
		Tables map[string]chosen `toml:"tables"`
		Other  deep              `toml:"other"`
	}
	for text, want := range map[string]string{
		"tables.a.name = 1": "F:1: tables.a.name: unknown key; it belongs in [tables.a.inner]",
		"other.name = 1":    "F:1: other.name: unknown key; it belongs in [tables.NAME.inner]",
		"tables.a.depth = 1": "F:1: tables.a.depth: unknown key; " +
			"it belongs in [other]",
	} {
		d, err := Read("F", []byte(text), &document{})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Err(); err == nil || err.Error() != want {
			t.Errorf("%s\nwant %s\nhave %v", text, want, err)
		}
	}
}

// All problems come at once: those of the document in the order of its lines, then those of other
// files. A place that the document does not have gets the line of the innermost table around it.
func TestOrderOfProblems(t *testing.T) {
	d, s := read(t, "word = 1\n[table]\nnam = 1\n")
	d.Problems = append(d.Problems, &Problem{File: "B", Line: 1, Text: "b"},
		&Problem{File: "A", Line: 9, Text: "a"})
	d.Report(s.Table.At.Key("secret").Element(1), "missing")
	d.Report(nil, "as a whole")
	want := strings.Join([]string{
		"F: as a whole",
		"F:1: word: found 1, allowed is a string",
		"F:2: table.secret[1]: missing",
		`F:3: table.nam: unknown key; did you mean "name"?`,
		"A:9: a", "B:1: b",
	}, "\n")
	if diff := cmp.Diff(want, d.Err().Error()); diff != "" {
		t.Errorf("want (-), have (+):\n%s", diff)
	}
}

// A warning is a complete message, and no problem.
func TestWarn(t *testing.T) {
	d, s := read(t, "\nword = \"a\"\n")
	d.Warn(s.Word.At, "found %s", Quote(s.Word.V))
	if diff := cmp.Diff([]string{`F:2: word: found "a"`}, d.Warnings); diff != "" {
		t.Errorf("want (-), have (+):\n%s", diff)
	}
	if err := d.Err(); err != nil {
		t.Errorf("want no problem, have %v", err)
	}
}

// A word that is not allowed gets the near one as a suggestion, or the list of all.
func TestDidYouMean(t *testing.T) {
	allowed := []string{"warn", "info"}
	for word, want := range map[string]string{
		"warning": `; did you mean "warn"?`,
		"lots":    "; allowed: info, warn",
	} {
		if got := DidYouMean(word, allowed); got != want {
			t.Errorf("%s: want %q, have %q", word, want, got)
		}
	}
}
