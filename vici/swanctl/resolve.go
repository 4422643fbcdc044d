package swanctl

import (
	"slices"
	"strings"
)

// maxSteps bounds the search for sections, since references to references multiply.
const maxSteps = 20_000

// resolver finds sections by their path, with what they inherit.
type resolver struct {
	top   *node
	steps int
}

// find returns the sections that contribute to a path, the nearest first: an earlier section hides
// the same keys in later ones. It reports false if references form a circle.
func (r *resolver) find(path []string) (all []*node, ok bool) {
	ok = r.below(r.top, path, false, &all)
	return all, ok
}

// below looks for a path inside a section and, if the section refers to others, inside those as
// well. With direct it does not follow the references, for a section that was itself found through
// them.
func (r *resolver) below(n *node, path []string, direct bool, all *[]*node) bool {
	if r.steps++; r.steps > maxSteps {
		return false
	}
	found := n.section(path[0])
	switch {
	case found != nil && len(path) > 1:
		if !r.below(found, path[1:], false, all) {
			return false
		}
	case found != nil && !slices.Contains(*all, found):
		*all = append(*all, found)
		if !r.referred(found, all) {
			return false
		}
	}
	if direct {
		return true
	}
	for _, ref := range n.references {
		var sections []*node
		if !r.named(ref, &sections) {
			return false
		}
		for _, s := range sections {
			if !r.below(s, path, true, all) {
				return false
			}
		}
	}
	return true
}

// referred adds the sections that a section refers to.
func (r *resolver) referred(n *node, all *[]*node) bool {
	for _, ref := range n.references {
		if !r.named(ref, all) {
			return false
		}
	}
	return true
}

func (r *resolver) named(ref reference, all *[]*node) bool {
	return r.below(r.top, strings.Split(ref.name, "."), false, all)
}
