package config

import (
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
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
	var tree map[string]any
	if err := toml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, "", reflect.TypeFor[rawFile](), tree)
}

// wantKeys checks that found, a parsed document or a part of it, has every key of a raw type. A
// table with a name of the user's choice is called gre1; of a list the first element counts.
func wantKeys(t *testing.T, at string, raw reflect.Type, found any) {
	t.Helper()
	switch raw.Kind() {
	case reflect.Pointer:
		wantKeys(t, at, raw.Elem(), found)
		return
	case reflect.Map:
		table, _ := found.(map[string]any)
		wantKeys(t, at+".gre1", raw.Elem(), table["gre1"])
		return
	case reflect.Slice:
		var first any
		switch elements := found.(type) {
		case []any:
			first = elements[0]
		case []map[string]any:
			first = elements[0]
		}
		wantKeys(t, at+"[0]", raw.Elem(), first)
		return
	}
	table, _ := found.(map[string]any)
	for i := range raw.NumField() {
		key, _, _ := strings.Cut(raw.Field(i).Tag.Get("toml"), ",")
		if key == "" {
			continue
		}
		if _, ok := table[key]; !ok {
			t.Errorf("%s.%s is missing in the reference", at, key)
			continue
		}
		below := raw.Field(i).Type
		if _, isValue := reflect.New(below).Interface().(interface{ Present() bool }); !isValue {
			wantKeys(t, at+"."+key, below, table[key])
		}
	}
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
