package swanctl

import "strings"

// Keys returns where the file has shared keys for IKE (secrets { ike… { secret = … } }). It never
// returns their values.
func (f *File) Keys() []Pos {
	r := &resolver{top: f.top}
	nodes, ok := r.find([]string{"secrets"})
	if !ok {
		return nil
	}
	var all []Pos
	for _, s := range inside(nodes) {
		if !strings.HasPrefix(strings.ToLower(s.name), "ike") {
			continue
		}
		of, ok := r.find([]string{"secrets", s.name})
		if !ok {
			continue
		}
		for _, key := range settings(of) {
			if key.key == "secret" && key.value != "" {
				all = append(all, key.at)
			}
		}
	}
	return all
}
