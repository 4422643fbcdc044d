package swanctl

import (
	"slices"
	"strings"
)

// Connection is a connection with everything that it includes and inherits.
type Connection struct {
	Name string
	Section
}

// Section is a part of a connection in the form that charon receives, in the order of the file.
type Section struct {
	Name     string
	At       Pos
	Keys     []Key
	Sections []*Section
}

// Key is a key with its value: either Text or the items of List. For certificates and public keys
// the list holds the contents of the files, not their names.
type Key struct {
	Name   string
	At     Pos
	Text   string
	List   []string
	IsList bool
}

// Names returns the names of the file's connections, in their order.
func (f *File) Names() []string {
	r := &resolver{top: f.top}
	nodes, ok := r.find([]string{"connections"})
	if !ok {
		return nil
	}
	var names []string
	for _, s := range inside(nodes) {
		names = append(names, s.name)
	}
	return names
}

// Connection resolves a connection and reads the certificates that it names. A path that is not
// absolute is relative to the folders beside the file (x509, x509ca, pubkey). The error is a
// *[Problem]. For an unknown name it lists the names that exist.
func (f *File) Connection(name string) (*Connection, error) {
	r := &resolver{top: f.top}
	nodes, ok := r.find([]string{"connections"})
	if !ok {
		return nil, problemf(Pos{File: f.path}, "the references of the section connections go round in a circle, or are too many")
	}
	i := slices.IndexFunc(inside(nodes), func(n *node) bool { return n.name == name })
	if i < 0 {
		return nil, f.missing(name)
	}
	b := &builder{resolver: r, files: files{dir: f.path}}
	s, err := b.section([]string{"connections", name}, inside(nodes)[i].at)
	if err != nil {
		return nil, err
	}
	return &Connection{Name: name, Section: *s}, nil
}

// missing returns the Problem of an unknown name. It lists the connections that exist.
func (f *File) missing(name string) *Problem {
	names := f.Names()
	if len(names) == 0 {
		return problemf(Pos{File: f.path}, "no connection %s, and no other: there is no section in connections { … }", quote(name))
	}
	const most = 10
	list := strings.Join(names[:min(len(names), most)], ", ")
	if len(names) > most {
		list += ", …"
	}
	return problemf(Pos{File: f.path}, "no connection %s; the file has %s", quote(name), list)
}

// inside returns the sections inside nodes, each name once. For a name in several nodes, the first
// of the nodes counts.
func inside(nodes []*node) []*node {
	seen := map[string]bool{}
	var all []*node
	for _, n := range nodes {
		for _, s := range n.sections {
			if !seen[s.name] {
				seen[s.name] = true
				all = append(all, s)
			}
		}
	}
	return all
}

// settings returns the keys of nodes, each once. For a key in several nodes, the first of the nodes
// counts; if that removes the key, settings leaves it out.
func settings(nodes []*node) []*setting {
	seen := map[string]bool{}
	var all []*setting
	for _, n := range nodes {
		for _, s := range n.settings {
			if !seen[s.key] && !s.removed {
				all = append(all, s)
			}
			seen[s.key] = true
		}
	}
	return all
}

// builder turns nodes into Sections.
type builder struct {
	*resolver
	files files
}

// The lengths that swanctl has room for. It cuts off longer paths, or reads their sections as
// empty.
const (
	longestName = 127
	longestPath = 254
	longestText = 65535
)

func (b *builder) section(path []string, at Pos) (*Section, error) {
	name := path[len(path)-1]
	nodes, ok := b.find(path)
	where := strings.Join(path, ".")
	switch {
	case !ok:
		return nil, &Problem{at, where, "its references go round in a circle, or are too many"}
	case len(name) > longestName, len(where) > longestPath, len(path) > maxDepth:
		return nil, &Problem{at, where, "a name longer than swanctl has room for"}
	case strings.Contains(name, "%"):
		return nil, &Problem{at, where, "a % in the name of a section, which swanctl misreads"}
	}
	s := &Section{Name: name, At: at}
	for _, setting := range settings(nodes) {
		k, err := b.key(setting)
		if err != nil {
			return nil, &Problem{setting.at, where + "." + setting.key, err.Error()}
		}
		s.Keys = append(s.Keys, k)
	}
	for _, n := range inside(nodes) {
		below, err := b.section(append(slices.Clip(path), n.name), n.at)
		if err != nil {
			return nil, err
		}
		s.Sections = append(s.Sections, below)
	}
	return s, nil
}

func (b *builder) key(s *setting) (k Key, err error) {
	k = Key{Name: s.key, At: s.at}
	switch {
	case len(s.key) > 255 || len(s.value) > longestText:
		return k, errTooLong
	case hasFold(fileKeys, s.key):
		k.IsList = true
		k.List, err = b.files.contents(s.key, split(s.value))
	case hasFold(listKeys, s.key):
		k.List, k.IsList = split(s.value), true
	default:
		k.Text = s.value
	}
	return k, err
}

// Message returns the section's content as the argument of VICI's load-conn: strings, lists of
// strings, and maps of these.
func (s *Section) Message() map[string]any {
	m := make(map[string]any, len(s.Keys)+len(s.Sections))
	for _, k := range s.Keys {
		if k.IsList {
			m[k.Name] = k.List
		} else {
			m[k.Name] = k.Text
		}
	}
	for _, below := range s.Sections {
		m[below.Name] = below.Message()
	}
	return m
}

// key returns a key by its name. Like charon, it distinguishes upper and lower case.
func (s *Section) key(name string) (Key, bool) {
	for _, k := range s.Keys {
		if k.Name == name {
			return k, true
		}
	}
	return Key{}, false
}

// below returns the sections whose names begin with prefix. Like charon, it ignores case.
func (s *Section) below(prefix string) []*Section {
	var all []*Section
	for _, b := range s.Sections {
		if len(b.Name) >= len(prefix) && strings.EqualFold(b.Name[:len(prefix)], prefix) {
			all = append(all, b)
		}
	}
	return all
}
