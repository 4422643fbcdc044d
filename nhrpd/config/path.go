package config

import (
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// path names a place in the file: table and key names, and for an element of a list its index in square brackets.
type path []step

type step struct {
	name  string
	index int // of a list's element, where name is empty and isIndex is set

	isIndex bool
}

func (p path) key(name string) path { return p.with(step{name: name}) }
func (p path) element(i int) path   { return p.with(step{index: i, isIndex: true}) }
func (p path) with(s step) path     { return append(p[:len(p):len(p)], s) }
func (p path) last() string         { return p[len(p)-1].name }

// String writes the path as TOML writes a dotted key.
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
