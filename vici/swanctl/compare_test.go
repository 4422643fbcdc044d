package swanctl_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cygnet/vici/swanctl"
)

// However a site writes its connections, this package reads from a file, element by element and in
// the same order, what swanctl sends to charon for it.
func TestReadsAsSwanctlDoes(t *testing.T) {
	sites, err := os.ReadDir("testdata/sites")
	if err != nil {
		t.Fatal(err)
	}
	for _, site := range sites {
		t.Run(site.Name(), func(t *testing.T) {
			dir, err := filepath.Abs(filepath.Join("testdata/sites", site.Name()))
			if err != nil {
				t.Fatal(err)
			}
			loaded, out := recordSwanctl(t, dir)
			if loaded["dmvpn"] == nil {
				t.Fatalf("swanctl loads no connection dmvpn:\n%s", out)
			}
			f, err := swanctl.Load(filepath.Join(dir, "swanctl.conf"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(
				slices.Sorted(maps.Keys(loaded)), slices.Sorted(slices.Values(f.Names())),
			); diff != "" {
				t.Errorf("connections of swanctl (-) and here (+):\n%s", diff)
			}
			for name, want := range loaded {
				c, err := f.Connection(name)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, lines(&c.Section)); diff != "" {
					t.Errorf("%s: swanctl sends (-), read here (+):\n%s", name, diff)
				}
			}
		})
	}
	if len(sites) < 20 {
		t.Errorf("only %d sites", len(sites))
	}
}

// lines writes a section in the same form as elements writes a message.
func lines(s *swanctl.Section) []string {
	all := []string{s.Name + " {"}
	for _, k := range s.Keys {
		if !k.IsList {
			all = append(all, fmt.Sprintf("%s = %q", k.Name, k.Text))
			continue
		}
		all = append(all, k.Name+" = [")
		for _, item := range k.List {
			all = append(all, fmt.Sprintf("%q", item))
		}
		all = append(all, "]")
	}
	for _, below := range s.Sections {
		all = append(all, lines(below)...)
	}
	return append(all, "}")
}

// Whatever this package refuses for its grammar, swanctl refuses as well.
func TestRefusesAsSwanctlDoes(t *testing.T) {
	for _, c := range faulty {
		if !c.both {
			continue
		}
		if loaded, out := recordSwanctl(t, site(t, c.text)); len(loaded) > 0 ||
			!strings.Contains(out, "invalid config file") {
			t.Errorf("%s: swanctl loads %d connections of it:\n%s", c.name, len(loaded), out)
		}
	}
}

// Two patterns are apart only if surely no identity matches both: a secret that is for the one must
// not open what is for the other.
func TestApart(t *testing.T) {
	for _, test := range []struct {
		one, other string
		want       bool
	}{
		{"*.blue.example", "*.red.example", true},
		{"*.blue.example", "*.BLUE.example", false},
		{"*.example", "*.red.example", false},
		{"*", "*.red.example", false},
		{"*blue", "*.blue", false},
		{"*.blue.example", "hub.blue.example", false},
		{"*.blue.example", "hub.red.example", true},
		{"hub.red.example", "HUB.red.example", false},
		{"hub.red.example", "spoke.red.example", true},
		{"*@blue.example", "*@red.example", true},
		{"*@blue.example", "fqdn:*.blue.example", true},
		{"*.blue.example", "%any", false},
		{"^.*blue$", "*.red.example", false},
		{"C=CH, O=Blue, CN=*", "C=CH, O=Red, CN=*", false},
		{"192.0.2.0/24", "198.51.100.0/24", false},
		{"*.blue.example", "198.51.100.0/24", false},
	} {
		one, other := swanctl.ParseIdentity(test.one), swanctl.ParseIdentity(test.other)
		if got := one.Apart(other); got != test.want {
			t.Errorf("%q and %q are apart: %v, want %v", test.one, test.other, got, test.want)
		}
		if got := other.Apart(one); got != test.want {
			t.Errorf("%q and %q are apart: %v, want %v", test.other, test.one, got, test.want)
		}
	}
}
