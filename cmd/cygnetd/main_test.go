package main

import (
	"os"
	"strings"
	"testing"
)

// Tasks that exclude each other are refused before any of them changes anything.
func TestFlags(t *testing.T) {
	path := t.TempDir() + "/cygnet.toml"
	if err := os.WriteFile(path, []byte("[log]\nlevel = \"info\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   string
		code   int
		stdout string // part of the output; empty: there is none
		stderr string
	}{
		{"-check", 0, path + " is valid", ""},
		{"-version", 0, "cygnetd ", ""},
		{"-check -leave", exitUsage, "", "-check and -leave exclude each other"},
		{"-check -guard", exitUsage, "", "-check and -guard exclude each other"},
		{"-guard -leave", exitUsage, "", "-guard and -leave exclude each other"},
		{"-version -leave", exitUsage, "", "-leave and -version exclude each other"},
		{"-leave -guard -check", exitUsage, "", "-check and -guard and -leave exclude each other"},
		{"-check=false -version", 0, "cygnetd ", ""},
		{"-check gre1", exitUsage, "", "unexpected argument"},
		{"-chekc", exitUsage, "", "-chekc"},
	} {
		var stdout, stderr strings.Builder
		code := run(append([]string{"-config", path}, strings.Fields(test.args)...), &stdout,
			&stderr)
		if code != test.code || !strings.Contains(stdout.String(), test.stdout) ||
			test.stdout == "" && stdout.String() != "" ||
			!strings.Contains(stderr.String(), test.stderr) {
			t.Errorf("%s: code %d, want %d\n%s%s", test.args, code, test.code, &stdout, &stderr)
		}
	}
}
