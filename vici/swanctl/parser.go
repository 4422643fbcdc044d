package swanctl

import (
	"path/filepath"
	"strings"
)

// Bounds on the depth of sections, and on how many sections one section inherits from.
const (
	maxDepth      = 50
	maxReferences = 100
)

// File is a swanctl.conf with everything that it includes. It does not change, so any goroutine may
// use it.
type File struct {
	path     string
	top      *node
	warnings []*Problem
}

// Load reads a file and those that it includes. The error is a *[Problem].
func Load(path string) (*File, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, problemf(Pos{File: path}, "%v", err)
	}
	s, err := newScanner(abs)
	if err != nil {
		return nil, err
	}
	p := &parser{s: s}
	f := &File{path: abs, top: &node{at: Pos{abs, 1}}}
	if err := p.statements(f.top, 0); err != nil {
		return nil, err
	}
	f.warnings = s.warnings
	return f, nil
}

// Path returns the absolute path of the file.
func (f *File) Path() string { return f.path }

// Warnings returns what swanctl silently ignores, such as an include of a missing file.
func (f *File) Warnings() []*Problem { return f.warnings }

type parser struct{ s *scanner }

// statements reads the content of a section up to its end, or of the whole file.
func (p *parser) statements(n *node, depth int) error {
	for {
		t, err := p.s.next()
		if err != nil {
			return err
		}
		switch t.kind {
		case stop: // the end of the value before
		case word:
			if err := p.statement(n, t, depth); err != nil {
				return err
			}
		case '}':
			if depth == 0 {
				return problemf(t.at, "a } without a section to close")
			}
			return nil
		case end:
			if depth > 0 {
				return problemf(n.at, "the section %s is not closed: a } is missing", quote(n.name))
			}
			return nil
		default:
			return problemf(t.at, "found %s where a name is expected", t.kind)
		}
	}
}

// statement reads what follows a name: a value or a section.
func (p *parser) statement(n *node, name token, depth int) error {
	t, err := p.s.next()
	if err != nil {
		return err
	}
	switch t.kind {
	case '=':
		return p.setting(n, name)
	case '{':
		return p.section(n, name, nil, depth)
	case ':':
		references, err := p.references(name)
		if err != nil {
			return err
		}
		return p.section(n, name, references, depth)
	}
	// The message does not show the name, which may be the second line of a secret.
	return problemf(name.at, "a name without = or { after it")
}

// setting reads a value. It joins the parts of the value by one blank, however many are between
// them.
func (p *parser) setting(n *node, name token) error {
	var parts []string
	for {
		t, err := p.s.next()
		if err != nil {
			return err
		}
		if t.kind != word {
			break
		}
		parts = append(parts, t.text)
	}
	n.set(&setting{name.text, strings.Join(parts, " "), parts == nil, name.at})
	return nil
}

func (p *parser) section(n *node, name token, references []reference, depth int) error {
	if depth >= maxDepth {
		return problemf(name.at, "more than %d sections inside each other", maxDepth)
	}
	s := n.open(name.text, name.at)
	for _, r := range references {
		s.refer(r)
	}
	return p.statements(s, depth+1)
}

// references reads names separated by commas, and the { after them.
func (p *parser) references(of token) ([]reference, error) {
	var all []reference
	for {
		t, err := p.s.next()
		if err != nil {
			return nil, err
		}
		if t.kind != word {
			return nil, problemf(t.at, "after the : of %s the name of another section is expected",
				quote(of.text))
		}
		if len(all) >= maxReferences {
			return nil, problemf(t.at, "%s refers to more than %d sections",
				quote(of.text), maxReferences)
		}
		all = append(all, reference{t.text, t.at})
		if t, err = p.s.next(); err != nil {
			return nil, err
		}
		switch t.kind {
		case ',':
		case '{':
			return all, nil
		default:
			return nil, problemf(t.at, "after what %s refers to, a comma or { is expected",
				quote(of.text))
		}
	}
}
