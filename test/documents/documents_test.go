// Package documents holds the documents against the program: their configurations are valid, their
// commands and tests exist, the code that they name or quote is there, their links lead somewhere,
// and the README's quick start works.
package documents

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cygnet/nhrpd/config"
)

const root = "../.."

// pages returns the documents by their path in the project.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files := []string{
		"README.md", "SECURITY.md", "CHANGELOG.md", "ARCHITECTURE.md", "CONTRIBUTING.md",
		"test/README.md",
	}
	for _, folder := range []string{"doc", "doc/recipes"} {
		guides, err := filepath.Glob(filepath.Join(root, folder, "*.md"))
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range guides {
			files = append(files, filepath.Join(folder, filepath.Base(g)))
		}
	}
	all := make(map[string]string)
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		all[file] = string(text)
	}
	return all
}

// A reader should need no more than ten minutes.
func TestREADMEIsShort(t *testing.T) {
	if n := strings.Count(pages(t)["README.md"], "\n"); n >= 150 {
		t.Errorf("want less than 150 lines in README.md, have %d", n)
	}
}

// Each link to a file of the project, or to a heading in one, leads to one.
func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:\s]*)(?:#([^)\s]*))?\)`)
	all := pages(t)
	for file, text := range all {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := filepath.Join(filepath.Dir(file), m[1])
			if m[1] == "" {
				target = file
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s, which is not there", file, m[1])
			} else if m[2] != "" && !slices.Contains(anchors(all[target]), m[2]) {
				t.Errorf("%s links to #%s in %s, which has no such heading", file, m[2], target)
			}
		}
	}
}

// anchors returns what links to the headings of a document end in: the heading in small letters,
// without punctuation, with hyphens for spaces.
func anchors(text string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		heading := strings.ToLower(strings.TrimSpace(m[1]))
		heading = regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(heading, "")
		all = append(all, strings.ReplaceAll(heading, " ", "-"))
	}
	return all
}

// Each test and make target that a document names exists.
func TestTestsAndTargetsExist(t *testing.T) {
	out, err := exec.Command("go", "test", "-tags", "lab", "-list", "^Test", "../scenario").Output()
	if err != nil {
		t.Fatalf("list the scenarios: %v", err)
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	scenario := regexp.MustCompile(`\bT=([A-Za-z0-9]+)`)
	target := regexp.MustCompile("`make ([a-z-]+)")
	for file, text := range pages(t) {
		for _, m := range scenario.FindAllStringSubmatch(text, -1) {
			name := "Test" + strings.TrimPrefix(m[1], "Test")
			if m[1] != "NAME" && !slices.Contains(strings.Fields(string(out)), name) {
				t.Errorf("%s names the scenario %s, which is not there", file, m[1])
			}
		}
		for _, m := range target.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(string(makefile), "\n"+m[1]+":") {
				t.Errorf("%s names 'make %s', which is not there", file, m[1])
			}
		}
	}
}

// Every file that the documents call installed is a file of contrib, from which the packages take
// their examples.
func TestInstalledExamplesExist(t *testing.T) {
	installed := regexp.MustCompile(`/usr/share/doc/cygnet/examples/([A-Za-z0-9./_-]+)|contrib/([a-z]+/[A-Za-z0-9._-]+)`)
	for file, text := range pages(t) {
		for _, m := range installed.FindAllStringSubmatch(text, -1) {
			name := strings.TrimRight(m[1]+m[2], ".")
			if _, err := os.Stat(filepath.Join(root, "contrib", name)); err != nil {
				t.Errorf("%s names the example %s, which is not there", file, name)
			}
		}
	}
}

// block is a configuration or a list of commands in a document, with the line before it.
type block struct{ file, before, language, text string }

// blocks returns the fenced blocks of a document.
func blocks(file, text string) []block {
	fence := regexp.MustCompile("(?m)^( *)```([a-z]+)\n((?s:.*?))^ *```$")
	var all []block
	for _, m := range fence.FindAllStringSubmatchIndex(text, -1) {
		indent := text[m[2]:m[3]]
		before := strings.Split(strings.TrimSpace(text[:m[0]]), "\n")
		body := strings.ReplaceAll("\n"+text[m[6]:m[7]], "\n"+indent, "\n")
		all = append(all, block{
			file, before[len(before)-1], text[m[4]:m[5]], strings.TrimPrefix(body, "\n"),
		})
	}
	return all
}

// indentedTOML returns the configurations in a document that are indented and not fenced.
func indentedTOML(file, text string) []block {
	begins := regexp.MustCompile(`(?m)\A(?:#.*\n)?\[?\[interface\.|\A# in \[interface\.`)
	var all []block
	for _, part := range regexp.MustCompile(`(?m)(?:^ {4}.*\n|^\n)+`).FindAllString(text, -1) {
		part = strings.Trim(part, "\n") + "\n"
		indent := part[:len(part)-len(strings.TrimLeft(part, " "))]
		part = strings.TrimPrefix(strings.ReplaceAll("\n"+part, "\n"+indent, "\n"), "\n")
		if begins.MatchString(part) {
			all = append(all, block{file: file, language: "toml", text: part})
		}
	}
	return all
}

// Every configuration in the documents is valid and causes no warning. A part of a configuration is
// completed first.
func TestConfigurationsAreValid(t *testing.T) {
	const address = "[interface.gre1]\naddress = \"10.255.0.1/24\"\nkey = 42\n"
	const underlay = "underlay = \"198.51.100.1\"\n"
	const psk = "[interface.gre1.ipsec]\nidentity = \"hub.example.net\"\npsk_file = \"PSK\"\n"
	psks := regexp.MustCompile(`(psk_file *= )"[^"]*"`)
	key := filepath.Join(t.TempDir(), "gre1.psk")
	if err := os.WriteFile(key, []byte("0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for file, text := range pages(t) {
		for _, b := range append(blocks(file, text), indentedTOML(file, text)...) {
			if b.language != "toml" || strings.Contains(b.text, "swanctl_connection") {
				continue
			}
			found[file]++
			whole := b.text
			switch {
			case strings.Contains(whole, "[interface.gre1]\n"):
			case strings.HasPrefix(whole, "# in [interface.gre1] "):
				whole = address + "nhs = [{ nbma = \"hub.example.net\" }]\n" + whole
				if !strings.Contains(whole, "\nunderlay ") {
					whole += underlay
				}
				whole += psk
			default:
				whole = address + underlay + whole + psk
			}
			whole = psks.ReplaceAllString(whole, fmt.Sprintf("${1}%q", key))
			c, err := config.Parse([]byte(whole), file)
			if err != nil {
				t.Errorf("%s: %v in\n%s", file, err, b.text)
			} else if len(c.Warnings) > 0 && strings.Contains(b.text, "[interface.gre1]\n") {
				t.Errorf("%s: %q in\n%s", file, c.Warnings, b.text)
			}
		}
	}
	for file, want := range map[string]int{
		"README.md": 2, "doc/recipes.md": 2, "doc/recipes/several-overlays.md": 2,
		"doc/recipes/several-uplinks.md": 1, "doc/routing.md": 1,
	} {
		if found[file] < want {
			t.Errorf("want %d configurations in %s, found %d", want, file, found[file])
		}
	}
}
