package config

import (
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const referenceFile = "../../contrib/cygnet/reference.toml"

func reference(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var (
	defaultLine = regexp.MustCompile(`(?m)^#([a-z_]+ = )`)
	exampleLine = regexp.MustCompile(`(?m)^#: ([a-z_]+ = )`)
)

var comparable = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

// The reference is a configuration that works unchanged.
func TestReferenceIsValid(t *testing.T) {
	cfg, err := Parse([]byte(reference(t)), "reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Warnings) > 0 {
		t.Errorf("warnings: %q", cfg.Warnings)
	}
}

// The default that the reference states for a key is the value that a file without the key gives.
func TestReferenceStatesTheDefaults(t *testing.T) {
	text := reference(t)
	left, err := Parse([]byte(text), "reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	given, err := Parse([]byte(defaultLine.ReplaceAllString(text, "$1")), "reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(left, given, comparable); diff != "" {
		t.Errorf("left out (-) and given as stated (+):\n%s", diff)
	}
}

// Every example of a key without a default works. Examples that exclude each other are tried one by
// one.
func TestReferenceExamplesAreValid(t *testing.T) {
	for _, example := range exampleLine.FindAllString(reference(t), -1) {
		text := strings.Replace(reference(t), example, strings.TrimPrefix(example, "#: "), 1)
		if strings.Contains(example, "auth = ") || strings.Contains(example, "certificates = ") ||
			strings.Contains(example, "ca = ") {
			text = strings.Replace(text, "\npsk_file = ", "\n#psk_file = ", 1)
		}
		if strings.Contains(example, "swanctl_") {
			text = strings.NewReplacer("\npsk_file = ", "\n#psk_file = ", "\nidentity = ",
				"\n#identity = ").Replace(text)
		}
		if strings.Contains(example, "swanctl_conf") {
			text = strings.Replace(text, "\n#: swanctl_connection", "\nswanctl_connection", 1)
		}
		if _, err := Parse([]byte(text), "reference.toml"); err != nil {
			t.Errorf("with %q: %v", example, err)
		}
	}
}

// Every key that the configuration takes is in the reference.
func TestReferenceIsComplete(t *testing.T) {
	text := exampleLine.ReplaceAllString(defaultLine.ReplaceAllString(reference(t), "$1"), "$1")
	lines := locate(text)
	for _, key := range allKeys(path{}, reflect.TypeFor[rawFile]()) {
		if _, ok := lines[key.String()]; !ok {
			t.Errorf("%s is missing in the reference", key)
		}
	}
}

// allKeys returns the paths that a raw type has. A table with a name of the user's choice is called
// gre1; a list has one element.
func allKeys(at path, t reflect.Type) []path {
	switch {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[filler]()):
		return []path{at}
	case t.Kind() == reflect.Pointer:
		return allKeys(at, t.Elem())
	case t.Kind() == reflect.Map:
		return allKeys(at.key("gre1"), t.Elem())
	case t.Kind() == reflect.Slice:
		return allKeys(at.element(0), t.Elem())
	}
	var all []path
	for key, i := range keysOf(t) {
		all = append(all, allKeys(at.key(key), t.Field(i).Type)...)
	}
	return all
}

// The reference describes no key twice, so it cannot state two defaults for it.
func TestReferenceHasEveryKeyOnce(t *testing.T) {
	seen := map[string]bool{}
	table := ""
	for line := range strings.Lines(reference(t)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			table = line
		}
		key, _, ok := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(line, "#"), ": "), " = ")
		if !ok || strings.Contains(key, " ") {
			continue
		}
		if seen[table+key] {
			t.Errorf("%s has %s twice", table, key)
		}
		seen[table+key] = true
	}
	if len(seen) < 40 {
		t.Errorf("only %d keys found", len(seen))
	}
}
