package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each reason that "cygnet explain" can give is one that a scenario brings about.
func TestEachReasonHasAScenario(t *testing.T) {
	source, err := os.ReadFile("../../nhrpd/api/explain.go")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../scenario/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var scenarios strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		scenarios.Write(text)
	}
	reasons := regexp.MustCompile(`(?m)^\t(Reason\w+) +VerdictReason = `).
		FindAllStringSubmatch(string(source), -1)
	if len(reasons) < 20 {
		t.Fatalf("found %d reasons, want all", len(reasons))
	}
	for _, m := range reasons {
		if !regexp.MustCompile(`\bapi\.` + m[1] + `\b`).MatchString(scenarios.String()) {
			t.Errorf("no scenario has the reason api.%s", m[1])
		}
	}
}
