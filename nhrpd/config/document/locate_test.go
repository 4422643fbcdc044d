package document

import (
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

// Every key, table and list element has the line on which it begins, in any notation that TOML has.
func TestLocate(t *testing.T) {
	const text = `# comment = 1
a = 1
[b.c] # [x]
d = "[no] # no"
'e f' = '''
x = 1
'''
"g\u0041" = """
\""" x = 1
"""""
h.i.j = [ # comment ]
  1, [2,
  3], { k = "}", l = [4] },
  "]",
]
[[m]]
n = 1
[[m]]
n = 2
[m.o]
p = { q = 1, r.s = 2 }
[[m.t]]
u = 2020-01-01 00:00:00
`
	want := map[string]int{
		"a": 2, "b": 3, "b.c": 3, "b.c.d": 4, `b.c."e f"`: 5, "b.c.gA": 8,
		"b.c.h": 11, "b.c.h.i": 11, "b.c.h.i.j": 11, "b.c.h.i.j[0]": 12, "b.c.h.i.j[1]": 12,
		"b.c.h.i.j[1][0]": 12, "b.c.h.i.j[1][1]": 13,
		"b.c.h.i.j[2]": 13, "b.c.h.i.j[2].k": 13, "b.c.h.i.j[2].l": 13, "b.c.h.i.j[2].l[0]": 13,
		"b.c.h.i.j[3]": 14,
		"m":            16, "m[0]": 16, "m[0].n": 17, "m[1]": 18, "m[1].n": 19, "m[1].o": 20, "m[1].o.p": 21,
		"m[1].o.p.q": 21, "m[1].o.p.r": 21, "m[1].o.p.r.s": 21, "m[1].t": 22, "m[1].t[0]": 22, "m[1].t[0].u": 23,
	}
	var tree map[string]any
	if err := toml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, locate(text)); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// places returns the paths of everything in a parsed document.
func places(at Place, x any) []Place {
	var all []Place
	if len(at) > 0 {
		all = append(all, at)
	}
	if table, ok := x.(map[string]any); ok {
		for key, e := range table {
			all = append(all, places(at.Key(key), e)...)
		}
	}
	if elements, ok := listOf(x); ok {
		for i, e := range elements {
			all = append(all, places(at.Element(i), e)...)
		}
	}
	return all
}
