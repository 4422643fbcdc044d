package swanctl_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cygnet/vici/swanctl"
)

// faulty holds files that cannot be read. DIR stands for their folder.
var faulty = []struct {
	name string
	text string
	says string // the expected error
	both bool   // swanctl refuses the file as well; otherwise it misreads the file or fails later
}{
	{"a section that is not closed", "connections {\n  dmvpn {\n    version = 2\n  }\n", `DIR/swanctl.conf:1: the section "connections" is not closed: a } is missing`, true},
	{"one that is closed twice", "connections {\n}\n}\n", "DIR/swanctl.conf:3: a } without a section to close", true},
	{"a string that is not closed", "a {\n  id = \"C=CH\n}\n", "DIR/swanctl.conf:2: a string without its closing quote", true},
	{"a string that ends in a backslash", "id = \"C=CH\\", "DIR/swanctl.conf:1: a string without its closing quote", true},
	{"a quoted name", "\n\"connections\" {\n}\n", "DIR/swanctl.conf:2: a string where a name is expected; only values are quoted", true},
	{"a name with a dot", "connections.dmvpn {\n}\n", "DIR/swanctl.conf:1: a name without = or { after it", true},
	{"a name alone", "connections {\n  dmvpn\n}\n", "DIR/swanctl.conf:2: a name without = or { after it", true},
	{"a name alone at the end", "connections",
		"DIR/swanctl.conf:1: a name without = or { after it", true},
	{"a value without a name", "connections {\n = 2\n}", "DIR/swanctl.conf:2: found '=' where a name is expected", true},
	{"no name of what is inherited", "a : {\n}\n", `DIR/swanctl.conf:1: after the : of "a" the name of another section is expected`, true},
	{"two of them without a comma", "a : b c {\n}\n", `DIR/swanctl.conf:1: after what "a" refers to, a comma or { is expected`, true},
	{"an error behind an include", "include part\nb }\n", "DIR/swanctl.conf:2: a name without = or { after it", true},
	{"an error inside an include", "include bad\n", "DIR/bad:3: a name without = or { after it",
		true},
	{"a file that includes itself", "include swanctl.conf\n", "DIR/swanctl.conf:1: more than 20 files include each other; perhaps one includes itself", false},
	{"an include of nothing", "include   # nothing\n", "DIR/swanctl.conf:1: include without a file name", false},
	{"a zero byte", "a {\n}\n\x00\n", "DIR/swanctl.conf:3: a zero byte: this is not a text file",
		false},
	{"a byte order mark", "\xef\xbb\xbfconnections {\n}\n", "DIR/swanctl.conf:1: the file begins with a byte order mark, which strongSwan takes for a part of the first name; save it without", false},
	{"sections without end", strings.Repeat("a {", 60), "DIR/swanctl.conf:1: more than 50 sections inside each other", true},
	{"references without end", "a : b" + strings.Repeat(", b", 200) + " { }", `DIR/swanctl.conf:1: "a" refers to more than 100 sections`, false},
}

// site writes a swanctl.conf and the files that the tests include.
func site(t testing.TB, text string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{
		"swanctl.conf": text,
		"part":         "a {\n}\n# the end",
		"bad":          "a {\n}\nb\n}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A file that cannot be read is refused with the faulty line.
func TestFaultyFiles(t *testing.T) {
	for _, c := range faulty {
		t.Run(c.name, func(t *testing.T) {
			dir := site(t, c.text)
			_, err := swanctl.Load(filepath.Join(dir, "swanctl.conf"))
			if err == nil {
				t.Fatal("it was read")
			}
			if problem := (*swanctl.Problem)(nil); !errors.As(err, &problem) {
				t.Errorf("the error is a %T", err)
			}
			if got := strings.ReplaceAll(err.Error(), dir, "DIR"); got != c.says {
				t.Errorf("got  %s\nwant %s", got, c.says)
			}
		})
	}
}

// No error shows what a file contains besides connections, least of all its secrets.
func TestErrorsHoldNoSecrets(t *testing.T) {
	for _, text := range []string{
		"secrets {\n ike {\n  secret = \"hush\" hush\n",
		"secrets {\n ike {\n  secret = \"hush\n hush\n }\n}\n",
		"secrets {\n ike {\n  secret =\n   hush\n }\n}\n",
		"secrets {\n ike {\n  secret = hush # \n  hush, hush\n }\n}\n",
		"secrets {\n ike {\n  hush\n }\n}\n",
	} {
		_, err := swanctl.Load(filepath.Join(site(t, text), "swanctl.conf"))
		if err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A connection that cannot be resolved is refused with the faulty line, or with the names of the
// connections that exist.
func TestFaultyConnections(t *testing.T) {
	for _, c := range []struct{ name, text, says string }{
		{"none of that name", "connections {\n dmvpn2 { }\n other { }\n}\n", `DIR/swanctl.conf: no connection "dmvpn"; the file has dmvpn2, other`},
		{"none at all", "secrets { }", `DIR/swanctl.conf: no connection "dmvpn", and no other: there is no section in connections { … }`},
		{"one that inherits from inside itself", "connections {\n dmvpn : connections.dmvpn.children { }\n}\n",
			"DIR/swanctl.conf:2: connections.dmvpn: its references go round in a circle, or are too many"},
		{"children that go on for ever", "connections {\n dmvpn { children : connections.dmvpn { } }\n}\n",
			"DIR/swanctl.conf:2: connections.dmvpn" + strings.Repeat(".children", 27) + ": a name longer than swanctl has room for"},
		{"a long name", "connections {\n dmvpn { " + strings.Repeat("x", 128) + " { } }\n}\n",
			"DIR/swanctl.conf:2: connections.dmvpn." + strings.Repeat("x", 128) + ": a name longer than swanctl has room for"},
		{"a percent sign", "connections {\n dmvpn { a%s { } }\n}\n", "DIR/swanctl.conf:2: connections.dmvpn.a%s: a % in the name of a section, which swanctl misreads"},
		{"no such certificate", "connections {\n dmvpn { local {\n  certs = nobody.pem } }\n}\n",
			"DIR/swanctl.conf:3: connections.dmvpn.local.certs: cannot be read: DIR/x509/nobody.pem: no such file or directory"},
		{"a key that is no hexadecimal", "connections {\n dmvpn { local {\n  pubkeys = 0xhush } }\n}\n",
			"DIR/swanctl.conf:3: connections.dmvpn.local.pubkeys: what follows 0x is not hexadecimal"},
		{"a key that is no base64", "connections {\n dmvpn { local {\n  pubkeys = 0s%% } }\n}\n",
			"DIR/swanctl.conf:3: connections.dmvpn.local.pubkeys: what follows 0s is not base64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := site(t, c.text)
			f, err := swanctl.Load(filepath.Join(dir, "swanctl.conf"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.Connection("dmvpn")
			if got := strings.ReplaceAll(fmt.Sprint(err), dir, "DIR"); got != c.says {
				t.Errorf("got  %s\nwant %s", got, c.says)
			}
		})
	}
}

// Files with many references to each other lead to an error, not to a long wait.
func TestReferencesAreBounded(t *testing.T) {
	var text strings.Builder
	text.WriteString("connections { dmvpn : s0 { } }\n")
	for i := range 60 {
		fmt.Fprintf(&text, "s%d : s%d.x, s%d.y { x { } y { } }\n", i, i+1, i+1)
	}
	f, err := swanctl.Load(filepath.Join(site(t, text.String()), "swanctl.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Connection("dmvpn"); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("the error is %v", err)
	}
}

// An include of a missing file causes a warning, since swanctl ignores it silently. A pattern that
// matches no file is usual, and causes none.
func TestMissingIncludeIsAWarning(t *testing.T) {
	dir := site(t, "include part\ninclude conf.d/*.conf\ninclude gone.conf\n")
	f, err := swanctl.Load(filepath.Join(dir, "swanctl.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if w := f.Warnings(); len(w) != 1 || w[0].Error() != filepath.Join(dir, "swanctl.conf")+":3: gone.conf does not exist, so nothing is included" {
		t.Errorf("warnings: %v", w)
	}
}

// The error about a missing file, or about something that is not a file, has its name.
func TestFileThatIsNone(t *testing.T) {
	dir := t.TempDir()
	for name, says := range map[string]string{dir: "not a regular file", dir + "/none": "no such file"} {
		if _, err := swanctl.Load(name); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
