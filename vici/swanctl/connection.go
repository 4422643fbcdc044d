package swanctl

import (
	"slices"
	"strings"
)

// Connection is a connection with all that it includes and inherits.
type Connection struct {
	Name string
	Section
}

// Section is a part of a connection as it goes to charon, in the order of the file.
type Section struct {
	Name     string
	At       Pos
	Keys     []Key
	Sections []*Section
}

// Key is a key with its value: Text, or the items of a List. Certificates and public keys are in the list themselves, not the names
// of their files.
type Key struct {
	Name   string
	At     Pos
	Text   string
	List   []string
	IsList bool
}

// Names lists the connections of the file in their order.
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

// Connection resolves a connection and reads the files of certificates that it names, from the folders beside the file (x509,
// x509ca, pubkey) where their paths are not absolute. The error is a *[Problem]; of a name that is not there it tells which are.
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

// missing says what connections there are instead.
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

// inside lists what sections contain, each name once, by the nearest that has it.
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

// settings lists the keys of sections, each once, by the nearest that has it; one that is removed there is left out.
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

// builder makes sections of nodes.
type builder struct {
	*resolver
	files files
}

// What swanctl has room for: it cuts longer paths off, or takes their sections for empty.
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

// Message gives the section's content as the argument of VICI's load-conn has it: strings, lists of strings, and maps of the same.
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

// key finds a key by its name, in which charon distinguishes case.
func (s *Section) key(name string) (Key, bool) {
	for _, k := range s.Keys {
		if k.Name == name {
			return k, true
		}
	}
	return Key{}, false
}

// below lists the sections whose names begin as given, in which charon does not distinguish case.
func (s *Section) below(prefix string) []*Section {
	var all []*Section
	for _, b := range s.Sections {
		if len(b.Name) >= len(prefix) && strings.EqualFold(b.Name[:len(prefix)], prefix) {
			all = append(all, b)
		}
	}
	return all
}
