package swanctl

import "slices"

// node is a section as it is written, with what all files say of it.
type node struct {
	name       string
	at         Pos
	sections   []*node    // in the order of their first appearance
	settings   []*setting // likewise
	references []reference

	sectionOf map[string]*node
	settingOf map[string]*setting
}

// setting is a key of a section. Its place in the order is that of its first appearance, its value that of its last.
type setting struct {
	key     string
	value   string
	removed bool // without a value: what is inherited does not count
	at      Pos
}

// reference names a section, by its path from the top, that another one inherits from.
type reference struct {
	name string
	at   Pos
}

func (n *node) section(name string) *node { return n.sectionOf[name] }

// open returns the section of that name, which several places may contribute to.
func (n *node) open(name string, at Pos) *node {
	if s := n.sectionOf[name]; s != nil {
		return s
	}
	if n.sectionOf == nil {
		n.sectionOf = make(map[string]*node)
	}
	s := &node{name: name, at: at}
	n.sections, n.sectionOf[name] = append(n.sections, s), s
	return s
}

func (n *node) set(s *setting) {
	if known := n.settingOf[s.key]; known != nil {
		*known = *s
		return
	}
	if n.settingOf == nil {
		n.settingOf = make(map[string]*setting)
	}
	n.settings, n.settingOf[s.key] = append(n.settings, s), s
}

func (n *node) refer(r reference) {
	if !slices.ContainsFunc(n.references, func(k reference) bool { return k.name == r.name }) {
		n.references = append(n.references, r)
	}
}
