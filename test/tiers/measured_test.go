package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// test/README.md names each test of the lab that runs a mesh or an example. Tests below kernel and
// vici hold one rule each, and need no line there.
func TestEachScenarioIsDescribed(t *testing.T) {
	tests, err := readTable("tests.txt")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[string]bool)
	for _, m := range regexp.MustCompile("`(?:[a-z]+\\.)?(?:Test)?([A-Z]\\w+)`").
		FindAllStringSubmatch(string(page), -1) {
		named["Test"+m[1]] = true
	}
	for _, test := range tests {
		below, _, _ := strings.Cut(test.pkg, "/")
		if below != "kernel" && below != "vici" && !named[test.name] {
			t.Errorf("test/README.md says nothing of %s in %s: add a row", test.name, test.pkg)
		}
	}
}
