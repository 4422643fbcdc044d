package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// dpkg's own parser reads the Debian changelog that comes from CHANGELOG.md, with this build's
// version on top.
func TestDebianChangelog(t *testing.T) {
	root := t.TempDir()
	text := "# Changes\n\nIntroduction.\n\n## Unreleased\n\n### Fixed\n\n- One thing that\n  goes on.\n- Another.\n\n" +
		"## 0.1.0 - 2026-11-29\n\nThe first\nrelease.\n"
	if err := os.WriteFile(filepath.Join(root, "CHANGELOG.md"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	b := build{
		root: root, version: "0.1.0+git20261201.abcdef0", mtime: time.Unix(1796083200, 0).UTC(),
	}
	all, err := b.readChangelog()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "changelog")
	if err := os.WriteFile(file, debianChangelog(all), 0o644); err != nil {
		t.Fatal(err)
	}
	have := output(t, "dpkg-parsechangelog", "--all", "--format", "rfc822", "-l", file)
	for _, want := range []string{"Version: 0.1.0+git20261201.abcdef0\n", "* One thing that goes on.\n", "* Another.\n",
		"Version: 0.1.0\n", "* The first release.\n", "Date: Sun, 29 Nov 2026 00:00:00 +0000\n"} {
		if !strings.Contains(have, want) {
			t.Errorf("want %q in\n%s", want, have)
		}
	}
	if strings.Contains(have, "warning") || strings.Contains(have, "Introduction") {
		t.Errorf("want neither warning nor introduction in\n%s", have)
	}
}

// A changelog is refused if a release has no date, or if it has no release.
func TestChangelogThatCannotBeRead(t *testing.T) {
	for text, want := range map[string]string{
		"# Changes\n":             "has no release",
		"# Changes\n\n## 0.1.0\n": "release 0.1.0 has no date",
	} {
		root := t.TempDir()
		if err := os.WriteFile(
			filepath.Join(root, "CHANGELOG.md"), []byte(text), 0o644,
		); err != nil {
			t.Fatal(err)
		}
		b := build{root: root}
		if _, err := b.readChangelog(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want error %q, have %v", text, want, err)
		}
	}
}

func TestWrap(t *testing.T) {
	if d := cmp.Diff([]string{"a bc", "def", "ghijkl"}, wrap("a bc def  ghijkl", 5)); d != "" {
		t.Errorf("lines differ (- want, + have):\n%s", d)
	}
}
