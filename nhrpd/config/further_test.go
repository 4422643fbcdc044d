package config

import (
	"os"
	"strings"
	"testing"
)

// furtherSite returns a site whose configuration has the interface gre1, with further files.
func furtherSite(t *testing.T, files map[string]string) site {
	t.Helper()
	s := newSite(t)
	if err := os.Mkdir(s.path("conf.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.write("cygnet.toml", unprotected("gre1", 1), 0o644)
	for name, text := range files {
		s.write("conf.d/"+name, text, 0o644)
	}
	return s
}

// unprotected returns the table of an interface without IPsec.
func unprotected(name string, number int) string {
	digit := string(rune('0' + number))
	return "[interface." + name + "]\naddress = \"10." + digit + ".0.1/24\"\n" +
		"underlay = \"eth0\"\nkey = " + digit + "\nprotection = \"none\"\n"
}

// mapped returns a static map of gre1.
func mapped(protocol, nbma string) string {
	return "[[interface.gre1.map]]\nprotocol = \"" + protocol + "\"\nnbma = \"" + nbma + "\"\n"
}

// The files in conf.d add tables to the configuration, in the order of their names. What is no file
// of the configuration by its name is left alone.
func TestFurtherFilesAddTables(t *testing.T) {
	s := furtherSite(t, map[string]string{
		"20-third.toml":   "# the third\n\n" + unprotected("gre3", 3),
		"10-second.toml":  unprotected("gre2", 2) + "[interface.gre1.limits]\nbindings = 7",
		"30-peer.toml":    mapped("10.1.0.2", "192.0.2.2"),
		"40-peer.toml":    mapped("10.1.0.3", "192.0.2.3"),
		"gre9.toml.off":   "not TOML",
		".gre9.toml":      "not TOML",
		"50-comment.toml": "# nothing",
	})
	c, err := Load(s.path("cygnet.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Interfaces) != 3 || c.Interfaces[2].Name != "gre3" {
		t.Fatalf("want three interfaces, have %+v", c.Interfaces)
	}
	if got := c.Interfaces[0]; got.Limits.Bindings != 7 || len(got.Maps) != 2 ||
		got.Maps[1].NBMA.String() != "192.0.2.3" {
		t.Errorf("further tables of gre1: %d bindings, %v", got.Limits.Bindings, got.Maps)
	}
}

// An error names the file, the line in that file, and the key.
func TestFaultsInFurtherFiles(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"unknown key": {
			"# one\n[interface.gre1.limits]\nbinding = 1\n",
			"conf.d/a.toml:3: interface.gre1.limits.binding: unknown key; did you mean",
		},
		"wrong value": {
			"[interface.gre1.limits]\nbindings = \"many\"\n",
			"conf.d/a.toml:2: interface.gre1.limits.bindings: ",
		},
		"not TOML": {"[interface.gre2]\naddress = 10.0.0.1/24\n", "conf.d/a.toml:2: not TOML"},
		"twice": {
			"\n" + unprotected("gre1", 1), "conf.d/a.toml:2: not TOML: Key 'interface.gre1'",
		},
		"no table": {
			"# for gre1\nttl = 3\n", "conf.d/a.toml:2: ttl: a key before the first table",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := furtherSite(t, map[string]string{"a.toml": test.text, "b.toml": "[log]\n"})
			_, err := Load(s.path("cygnet.toml"))
			if err == nil || !strings.Contains(err.Error(), s.path(test.want)) {
				t.Errorf("want %q, have %v", s.path(test.want), err)
			}
		})
	}
}

// A password in a further file counts for that file: everybody may read the others.
func TestPasswordInAFurtherFile(t *testing.T) {
	s := furtherSite(t, nil)
	text := strings.Replace(unprotected("gre2", 2), "key", "authentication = \"swordfish\"\nkey", 1)
	s.write("conf.d/a.toml", text, 0o644)
	_, err := Load(s.path("cygnet.toml"))
	if err == nil || !strings.Contains(err.Error(), "may read "+s.path("conf.d/a.toml")) {
		t.Errorf("a password that everybody may read: %v", err)
	}
	s.write("conf.d/a.toml", text, 0o640)
	if _, err := Load(s.path("cygnet.toml")); err != nil {
		t.Errorf("a password that only its group may read: %v", err)
	}
}
