package document

import (
	"strings"
	"testing"
)

// readFaulty reads text, which is not TOML, and returns the problem.
func readFaulty(t *testing.T, text string) *Problem {
	t.Helper()
	_, err := Read("F", []byte(text), &settings{})
	p, ok := err.(*Problem)
	if !ok {
		t.Fatalf("want a problem of:\n%s\nhave %v", text, err)
	}
	return p
}

// A syntax error has a line.
func TestSyntaxError(t *testing.T) {
	p := readFaulty(t, "word = \"a\"\nnumber = text\n")
	if p.File != "F" || p.Line != 2 || !strings.HasPrefix(p.Text, "not TOML") {
		t.Errorf("want one in line 2 of F, have %v", p)
	}
}

// A string without quotation marks, the most likely mistake of all, is reported as such with its
// key, whatever the parser takes it for. Other syntax errors are not reported as such.
func TestStringWithoutQuotes(t *testing.T) {
	for line, key := range map[string]string{
		`address = 10.255.0.11/24`:                                "address",
		`holding_time = 10m`:                                      "holding_time",
		`underlay = eth0 # towards "the provider"`:                "underlay",
		`nhs = [{ nbma = 198.51.100.1 }]`:                         "nbma",
		`nhs = [{ nbma = "a#b", protocol = 10.255.0.1 }]`:         "protocol",
		`map = [{ protocol = "10.255.0.2", nbma = hub.example }]`: "nbma",
		`key = 42 ]`:                "",
		`ttl = = 64`:                "",
		`address = "10.255.0.11/24`: "",
	} {
		p := readFaulty(t, "[table]\n"+line+"\n")
		want := "not TOML; a string is written in quotes: " + key + ` = "…"`
		if p.Line != 2 || key != "" && p.Text != want ||
			key == "" && !strings.HasPrefix(p.Text, "not TOML: ") {
			t.Errorf("%s\nhave %v\nwant %s", line, p, want)
		}
	}
}

// A syntax error in a line with the key of a secret is reported without anything of the line.
func TestSyntaxErrorInSecret(t *testing.T) {
	for line, key := range map[string]string{
		"password = hunter2":            "password",
		"password \"hunter2\"":          "password",
		"password_file = \"a\" hunter2": "password_file",
		"[tables.a]\nsecret = 'hunter2": "secret",
	} {
		p := readFaulty(t, line)
		want := "not TOML; a secret is written in quotes: " + key + ` = "…"`
		if p.Text != want {
			t.Errorf("%s\nhave %v\nwant %s", line, p, want)
		}
	}
}

// Quotation marks that were pasted from other text are reported as such, wherever they stand. The
// message does not show the text between them.
func TestTypographicQuotes(t *testing.T) {
	for _, line := range []string{
		"address = “10.255.0.1/24”",
		"address = ‘10.255.0.1/24’",
		"password = “hunter2”",
		"nhs = [{ nbma = „hub“ }]",
	} {
		p := readFaulty(t, "[table]\n"+line+"\n")
		if p.Line != 2 || !strings.HasPrefix(p.Text, "not TOML: typographic quotes") ||
			strings.Contains(p.Text, "hunter2") {
			t.Errorf("%s: %v", line, p)
		}
	}
}
