package recording

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Shape is which fields the documents of a recording have and of which kind each is. The keys are
// the document and the place of the field, such as "status/interfaces/*/peers/*/state"; "*" stands
// for any entry of a list.
type Shape map[string]string

// Shape returns the shape of a recording.
func (r *Recording) Shape() (Shape, error) {
	shape := Shape{}
	for i := range r.Steps {
		s := &r.Steps[i]
		for name, document := range s.documents() {
			if strings.HasPrefix(name, documentExplain) {
				name = "explain"
			}
			if err := shape.add(name, document); err != nil {
				return nil, err
			}
		}
		for i := range s.Events {
			if err := shape.add("event", s.Events[i]); err != nil {
				return nil, err
			}
		}
	}
	return shape, nil
}

// add adds the fields of a document.
func (s Shape) add(at string, document any) error {
	v, err := generic(document)
	if err == nil {
		s.walk(at, v)
	}
	return err
}

// walk adds the fields below a place.
func (s Shape) walk(at string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			s.walk(at+"/"+key, v[key])
		}
	case []any:
		s[at] = "list"
		for i := range v {
			s.walk(at+"/*", v[i])
		}
	case string:
		s[at] = "text"
	case json.Number:
		s[at] = "number"
	case bool:
		s[at] = "truth"
	}
}

// Compare lists what another recording of the same has in another way: fields of another kind, and
// fields that a reader needs and that are missing.
func (s Shape) Compare(other Shape, needed []string) (faults []string) {
	for _, place := range slices.Sorted(maps.Keys(s)) {
		if kind, ok := other[place]; ok && kind != s[place] {
			faults = append(faults, fmt.Sprintf("%s is a %s, was a %s", place, kind, s[place]))
		}
	}
	for _, place := range needed {
		if _, ok := other[place]; !ok {
			faults = append(faults, "nothing has "+place)
		}
	}
	return faults
}

// Needs lists the fields that the page needs of the router of a recording, and that the recording
// has whenever it is made.
func (r *Recording) Needs() []string {
	if len(r.Steps[0].Status.NHS()) > 0 {
		return slices.Concat(needed, neededOfSpoke)
	}
	return slices.Concat(needed, neededOfHub)
}

// neededOfHub and neededOfSpoke are what the page needs of a hub and of a spoke.
var (
	neededOfHub = []string{
		"status/interfaces/*/bindings/*/protocol", "status/interfaces/*/bindings/*/nbma",
		"status/interfaces/*/bindings/*/client_nbma", "status/interfaces/*/bindings/*/static",
		"status/interfaces/*/bindings/*/identity", "status/interfaces/*/bindings/*/secured",
		"status/interfaces/*/bindings/*/registered", "status/interfaces/*/bindings/*/prefixes",
		"pairs/*/interface", "pairs/*/source", "pairs/*/destination", "pairs/*/next_hop",
		"pairs/*/question/indicated", "pairs/*/question/asked", "explain/source",
	}
	neededOfSpoke = []string{
		"status/interfaces/*/nhs/*/protocol", "status/interfaces/*/nhs/*/nbma",
		"status/interfaces/*/nhs/*/name", "status/interfaces/*/nhs/*/state",
		"status/interfaces/*/nhs/*/use", "status/interfaces/*/nhs/*/attempts",
		"status/interfaces/*/nhs/*/registrations/*/protocol",
		"status/interfaces/*/shortcuts/*/prefix", "status/interfaces/*/shortcuts/*/next_hop",
		"status/interfaces/*/shortcuts/*/nbma", "status/interfaces/*/shortcuts/*/state",
		"status/interfaces/*/shortcuts/*/path", "status/interfaces/*/shortcuts/*/since",
		"status/interfaces/*/shortcuts/*/used", "status/interfaces/*/shortcuts/*/expires",
		"status/interfaces/*/peers/*/path/state", "status/interfaces/*/peers/*/path/reason",
	}
)

// needed is what the page needs of each router.
var needed = []string{
	"status/now", "status/version", "status/strongswan/connected",
	"status/events/journal", "status/events/last",
	"status/problems", "status/problems/*/code", "status/problems/*/severity",
	"status/problems/*/text",
	"status/interfaces/*/name", "status/interfaces/*/up", "status/interfaces/*/address",
	"status/interfaces/*/nbma", "status/interfaces/*/protected",
	"status/interfaces/*/nhs", "status/interfaces/*/bindings", "status/interfaces/*/shortcuts",
	"status/interfaces/*/peers/*/nbma", "status/interfaces/*/peers/*/identity",
	"status/interfaces/*/peers/*/state", "status/interfaces/*/peers/*/since",
	"status/interfaces/*/peers/*/interest", "status/interfaces/*/peers/*/remote_nat",
	"status/interfaces/*/peers/*/local_nat", "status/interfaces/*/peers/*/in",
	"status/interfaces/*/peers/*/out",
	"sas/*/remote", "sas/*/remote_identity", "sas/*/state", "sas/*/established",
	"sas/*/children/*/total_in", "sas/*/children/*/total_out",
	"event/number", "event/time", "event/event", "event/level", "event/text",
	"event/interface", "event/nbma", "event/identity",
	"explain/destination", "explain/now", "explain/daemon", "explain/verdict/path",
	"explain/verdict/reason", "explain/steps/*/step",
}
