package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// What git describe says becomes a version that both package managers take.
func TestPackageVersion(t *testing.T) {
	for described, want := range map[string]string{
		"v1.2.3":                   "1.2.3",
		"1.2.3":                    "1.2.3",
		"v1.2.3-dirty":             "1.2.3+dirty",
		"v1.2.3-4-gabcdef0":        "1.2.3+4.gabcdef0",
		"v1.2.3-4-gabcdef0-dirty":  "1.2.3+4.gabcdef0.dirty",
		"v1.2.3-rc1":               "1.2.3~rc1",
		"v1.2.3-rc1-7-gabcdef0":    "1.2.3~rc1+7.gabcdef0",
		"47bc960":                  "0~47bc960",
		"1234567":                  "0~1234567",
		"1234567-dirty":            "0~1234567.dirty",
		"47bc960-dirty":            "0~47bc960.dirty",
		"unknown":                  "0~unknown",
		"":                         "",
		"v1.2.3 ; rm -rf /":        "",
		"../../etc":                "",
		"v1.2.3-some-branch-name":  "",
		"v1.2.3-4-gabcdef0-broken": "",
	} {
		got, err := packageVersion(described)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q becomes %q, %v; want %q", described, got, err, want)
		}
	}
}

// Upgrades go from a tree without releases over pre-releases to the release and the commits after it, for dpkg and for rpm.
func TestVersionsAreInOrder(t *testing.T) {
	ascending := []string{"47bc960", "v0.1.0", "v1.2.3-rc1", "v1.2.3-rc1-7-gabcdef0", "v1.2.3-rc2", "v1.2.3", "v1.2.3-4-gabcdef0", "v1.2.3-10-g0123456", "v1.2.4"}
	for i := 1; i < len(ascending); i++ {
		a, err := packageVersion(ascending[i-1])
		if err != nil {
			t.Fatal(err)
		}
		b, err := packageVersion(ascending[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := exec.Command("dpkg", "--compare-versions", a, "lt", b).Run(); err != nil {
			t.Errorf("dpkg: %s is not before %s", a, b)
		}
		order := output(t, "rpm", "--eval", fmt.Sprintf("%%{lua: print(rpm.vercmp(%q, %q))}", a, b))
		if strings.TrimSpace(order) != "-1" {
			t.Errorf("rpm: %s is not before %s: %s", a, b, order)
		}
	}
}
