package config

import (
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// path is a place in the file: the names of tables and keys and, for an element of a list, its
// index in square brackets.
type path []step

type step struct {
	name  string
	index int // index of a list's element; isIndex is then set and name is empty

	isIndex bool
}

func (p path) key(name string) path { return p.with(step{name: name}) }
func (p path) element(i int) path   { return p.with(step{index: i, isIndex: true}) }
func (p path) with(s step) path     { return append(p[:len(p):len(p)], s) }
func (p path) last() string         { return p[len(p)-1].name }

// String returns the path in the notation of TOML's dotted keys.
func (p path) String() string {
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
