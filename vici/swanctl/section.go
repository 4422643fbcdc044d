package swanctl

import "slices"

// node is a section as written, with what all files say about it.
type node struct {
	name       string
	at         Pos
	sections   []*node    // in the order of their first appearance
	settings   []*setting // in the order of their first appearance
	references []reference

	sectionOf map[string]*node
	settingOf map[string]*setting
}

// setting is a key of a section. The first appearance of the key decides its place in the order,
// the last its value.
type setting struct {
	key     string
	value   string
	removed bool // the key has no value, so the inherited value does not count either
	at      Pos
}

// reference is the path, from the top, of a section that another one inherits from.
type reference struct {
	name string
	at   Pos
}

func (n *node) section(name string) *node { return n.sectionOf[name] }

// open returns the section of that name, and creates it if necessary. Several places in the files
// may contribute to one section.
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
