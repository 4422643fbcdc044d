package document

import (
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Place is where something is in a document: the names of tables and keys from the outermost to the
// innermost and, for an element of a list, its index. The nil Place is the document as a whole.
type Place []step

type step struct {
	name  string
	index int // index of a list's element; isIndex is then set and name is empty

	isIndex bool
}

// Key returns the place of a key in the table at p.
func (p Place) Key(name string) Place { return p.with(step{name: name}) }

// Element returns the place of an element of the list at p. The first element has the index 0.
func (p Place) Element(i int) Place { return p.with(step{index: i, isIndex: true}) }

// Last returns the innermost name; "" if p is the place of an element. p must not be nil.
func (p Place) Last() string { return p[len(p)-1].name }

func (p Place) with(s step) Place { return append(p[:len(p):len(p)], s) }

// String returns the place in the notation of TOML's dotted keys, with indexes in square brackets.
func (p Place) String() string {
	var b strings.Builder
	for i, s := range p {
		if s.isIndex {
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
			continue
		}
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(toml.Key{s.name}.String())
	}
	return b.String()
}
