package main

import (
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// help returns what a program prints with the arguments, whatever its exit code is.
func help(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(programs, program), args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out)
}

// commands returns the subcommands of cygnet, as its help lists them.
func commands(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile(
		`(?m)^  ([a-z]+) (?:[A-Za-z\[\]|… ]*[A-Z\]])? {2,}\S`).FindAllStringSubmatch(help(t, "cygnet",
		"help"), -1) {
		all = append(all, m[1])
	}
	if len(all) < 10 {
		t.Fatalf("cygnet help lists %q", all)
	}
	return all
}

func page(t *testing.T, name string) string { return read(t, "man/"+name) }

// groff formats the pages without a warning.
func TestManPagesAreWellFormed(t *testing.T) {
	for _, name := range manPages {
		if complaints := output(
			t, "groff", "-mandoc", "-ww", "-z", "-Tutf8", "man/"+name,
		); complaints != "" {
			t.Errorf("%s:\n%s", name, complaints)
		}
		text := output(t, "groff", "-mandoc", "-Tascii", "-P-c", "man/"+name)
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "FILES", "EXAMPLES", "SEE ALSO"} {
			if !strings.Contains(strings.ReplaceAll(text, "\b", ""), section) &&
				!strings.Contains(page(t, name), ".Sh "+section+"\n") {
				t.Errorf("%s has no section %s", name, section)
			}
		}
	}
}

// cygnet(1) has every command, in the order of the help, and the exit codes that the help names.
func TestManPageOfCygnetIsTrue(t *testing.T) {
	text := page(t, "cygnet.1")
	at := 0
	for _, c := range commands(t) {
		i := strings.Index(text[at:], "\n.It Ic "+c)
		if i < 0 {
			t.Errorf("%s is missing or not in order", c)
			continue
		}
		at += i
	}
	for _, m := range regexp.MustCompile(`(?:: |, )(\d) (\w+)`).FindAllStringSubmatch(help(t,
		"cygnet", "help"), -1) {
		_, codes, _ := strings.Cut(text, ".Sh EXIT STATUS\n")
		_, rest, ok := strings.Cut(codes, ".It "+m[1]+"\n")
		first, _, _ := strings.Cut(rest, "\n.It")
		if !ok ||
			!strings.Contains(strings.ToLower(first), strings.TrimPrefix(m[2], "an")) &&
				m[2] != "wrong" && m[2] != "the" {
			t.Errorf("exit code %s (%s …) is described as %q", m[1], m[2], first)
		}
	}
}

// cygnetd(8) has the flags that the daemon takes, and no others.
func TestManPageOfCygnetdIsTrue(t *testing.T) {
	has := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\.It Fl ([a-z]+)`).FindAllStringSubmatch(page(t,
		"cygnetd.8"), -1) {
		has[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^  -([a-z]+)`).FindAllStringSubmatch(help(t,
		"cygnetd", "-h"), -1) {
		if !has[m[1]] {
			t.Errorf("-%s is missing", m[1])
		}
		delete(has, m[1])
	}
	if len(has) > 0 {
		t.Errorf("flags that the daemon does not have: %v", has)
	}
}

// cygnet.toml(5) has every key of the reference, and its default where that is short.
func TestManPageOfTheConfigurationIsComplete(t *testing.T) {
	text := page(t, "cygnet.toml.5")
	key := regexp.MustCompile(`(?m)^(#:? ?)?([a-z_]+) += (.*)$`)
	found := 0
	for _, m := range key.FindAllStringSubmatch(read(t, "../contrib/cygnet/reference.toml"), -1) {
		found++
		item := regexp.MustCompile(`(?m)^\.It Ic (?:[a-z_]+ , )*` + m[2] +
			`(?: , [a-z_]+)*\n(?s:(.*?))\n\.(?:It|El)`).FindStringSubmatch(text)
		if item == nil {
			t.Errorf("%s is missing", m[2])
			continue
		}
		value := strings.ReplaceAll(m[3], `"`, `\(dq`)
		plain := strings.Trim(m[3], `"`)
		if m[1] == "#" && !strings.HasPrefix(m[3], "[") && !strings.Contains(item[1], value) &&
			!strings.Contains(item[1], plain) {
			t.Errorf("%s: the default %s is not in %q", m[2], m[3], item[1])
		}
	}
	if found < 40 {
		t.Errorf("only %d keys found in the reference", found)
	}
}
