package swanctl

// Setting returns the value of a key by its path from the top, with what its sections inherit. It
// also serves for strongswan.conf, which has the same grammar. It reports false if the key does not
// exist or has no value.
func (f *File) Setting(path ...string) (value string, at Pos, ok bool) {
	r := &resolver{top: f.top}
	nodes := []*node{f.top}
	if sections := path[:len(path)-1]; len(sections) > 0 {
		if nodes, ok = r.find(sections); !ok {
			return "", Pos{}, false
		}
	}
	for _, s := range settings(nodes) {
		if s.key == path[len(path)-1] {
			return s.value, s.at, true
		}
	}
	return "", Pos{}, false
}
