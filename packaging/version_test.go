package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A version that one of the package managers could not accept or sort is refused.
func TestCheckVersion(t *testing.T) {
	for v, ok := range map[string]bool{
		"0.1.0":                            true,
		"1.2.3~rc1":                        true,
		"0.1.0+git20261129.994cc37":        true,
		"0.1.0+git20261129.994cc37.dirty":  true,
		"0.1.0~rc2+git20261129.994cc37":    true,
		"0.1.0+unknown":                    true,
		"":                                 false,
		"v0.1.0":                           false,
		"994cc37":                          false,
		"unknown":                          false,
		"0.1.0-4-g994cc37":                 false,
		"0.1.0+git994cc37":                 false,
		"0.1.0 ; rm -rf /":                 false,
		"../../etc":                        false,
		"0.1.0+git20261129.994cc37-broken": false,
	} {
		if err := checkVersion(v); (err == nil) != ok {
			t.Errorf("%q: want accepted %t, have %v", v, ok, err)
		}
	}
}

// dpkg and rpm upgrade from a pre-release to the release, then to builds after it, day by day, and
// then to the next release.
func TestVersionsAreInOrder(t *testing.T) {
	ascending := []string{"0.1.0~rc1", "0.1.0~rc1+git20261101.fffffff", "0.1.0~rc2", "0.1.0",
		"0.1.0+git20261129.994cc37", "0.1.0+git20261130.0abcdef", "0.1.1", "0.2.0", "0.10.0"}
	for i := 1; i < len(ascending); i++ {
		a, b := ascending[i-1], ascending[i]
		for _, v := range []string{a, b} {
			if err := checkVersion(v); err != nil {
				t.Fatal(err)
			}
		}
		if err := exec.Command("dpkg", "--compare-versions", a, "lt", b).Run(); err != nil {
			t.Errorf("dpkg: want %s before %s", a, b)
		}
		order := output(t, "rpm", "--eval", fmt.Sprintf("%%{lua: print(rpm.vercmp(%q, %q))}", a, b))
		if strings.TrimSpace(order) != "-1" {
			t.Errorf("rpm: want %s before %s, have %s", a, b, order)
		}
	}
}

// The script describe names a tagged commit by its release. It names any other commit by the newest
// release in CHANGELOG.md, its day and its hash.
func TestDescribe(t *testing.T) {
	root := t.TempDir()
	in := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b",
			"GIT_AUTHOR_DATE=2026-11-29T23:30:00-0200", "GIT_COMMITTER_DATE=2026-11-29T23:30:00-0200")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	describe := func(want string) {
		t.Helper()
		have := in("packaging/describe")
		if have != want {
			t.Errorf("want %s, have %s", want, have)
		}
		if err := checkVersion(have); err != nil {
			t.Error(err)
		}
	}

	write("packaging/describe", read(t, "describe"))
	write("CHANGELOG.md", "# Changes\n\n## Unreleased\n\n## 0.2.0 - 2026-11-29\n\n## 0.1.0 - 2026-10-01\n")
	describe("0.2.0+unknown")
	in("git", "init", "-q")
	in("git", "add", "-A")
	in("git", "commit", "-q", "-m", "first")
	hash := in("git", "rev-parse", "--short=7", "HEAD")
	describe("0.2.0+git20261130." + hash) // the day in UTC
	in("git", "tag", "v0.2.0")
	describe("0.2.0")
	write("CHANGELOG.md", "# Changes\n\n## 0.2.0 - 2026-11-29\n")
	describe("0.2.0+git20261130." + hash + ".dirty")
}
