package recording

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"cygnet/nhrpd/api"
)

// A file has a line with the router, and then for each step: a line with its note, one for each
// event, and one for each document that has changed. A document is there as a whole, or as what of
// it has changed since the step before.
type line struct {
	Router string `json:"router,omitempty"`

	Step *int   `json:"step,omitempty"`
	Note string `json:"note,omitempty"`

	Event *api.Event `json:"event,omitempty"`

	// "status", "sas", "pairs" or "explain PAIR"
	Document string         `json:"document,omitempty"`
	Whole    any            `json:"whole,omitempty"`
	Set      map[string]any `json:"set,omitempty"`
	Unset    []string       `json:"unset,omitempty"`
}

// The documents of a step.
const (
	documentStatus  = "status"
	documentSAs     = "sas"
	documentPairs   = "pairs"
	documentExplain = "explain "
)

// WriteFile writes a recording to a file.
func (r *Recording) WriteFile(path string) error {
	var b bytes.Buffer
	if err := r.write(&b); err != nil {
		return fmt.Errorf("write the recording of %s: %w", r.Router, err)
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// write writes a recording.
func (r *Recording) write(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	if err := out.Encode(line{Router: r.Router}); err != nil {
		return err
	}
	written := map[string]any{} // the documents as they were last written
	for n := range r.Steps {
		s := &r.Steps[n]
		if err := out.Encode(line{Step: &n, Note: s.Note}); err != nil {
			return err
		}
		for i := range s.Events {
			if err := out.Encode(line{Event: &s.Events[i]}); err != nil {
				return err
			}
		}
		documents := s.documents()
		for _, name := range slices.Sorted(maps.Keys(documents)) {
			if err := writeDocument(out, written, name, documents[name]); err != nil {
				return fmt.Errorf("step %d: %s: %w", n, name, err)
			}
		}
	}
	return nil
}

// documents returns the documents of a step by their names.
func (s *Step) documents() map[string]any {
	all := map[string]any{documentStatus: s.Status, documentSAs: s.SAs,
		documentPairs: s.Pairs}
	for p, x := range s.Explained {
		all[documentExplain+p.String()] = x
	}
	return all
}

// writeDocument writes what of a document has changed, if anything has.
func writeDocument(out *json.Encoder, written map[string]any, name string, document any) error {
	to, err := generic(document)
	if err != nil {
		return err
	}
	from, known := written[name]
	written[name] = to
	if !known {
		return out.Encode(line{Document: name, Whole: to})
	}
	d := difference(from, to)
	if whole, ok := d.set[""]; ok {
		return out.Encode(line{Document: name, Whole: whole})
	}
	if len(d.set) == 0 && len(d.unset) == 0 {
		return nil
	}
	return out.Encode(line{Document: name, Set: d.set, Unset: d.unset})
}

// ReadFile reads a recording. A field that the API does not have, such as one that it had when the
// recording was made, is an error.
func ReadFile(path string) (*Recording, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := read(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; TestRecordedMesh makes it anew", path, err)
	}
	return r, nil
}

// longestLine bounds the length of a line.
const longestLine = 1 << 20

// reader is what is known at a place in a file.
type reader struct {
	made      *Recording
	documents map[string]any
}

// read reads a recording.
func read(from io.Reader) (*Recording, error) {
	r := &reader{made: &Recording{}, documents: map[string]any{}}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, longestLine)
	for n := 1; lines.Scan(); n++ {
		var l line
		d := strictly(lines.Bytes())
		d.UseNumber()
		if err := d.Decode(&l); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if err := r.take(&l); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return r.made, r.close()
}

// strictly returns a decoder that refuses unknown fields.
func strictly(text []byte) *json.Decoder {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d
}

// take adds a line to the recording.
func (r *reader) take(l *line) (err error) {
	switch {
	case l.Router != "":
		r.made.Router = l.Router
	case l.Step != nil:
		if *l.Step != len(r.made.Steps) {
			return fmt.Errorf("found step %d, want %d", *l.Step, len(r.made.Steps))
		}
		if err := r.close(); err != nil {
			return err
		}
		r.made.Steps = append(r.made.Steps, Step{Note: l.Note})
	case len(r.made.Steps) == 0:
		return fmt.Errorf("found a document before the first step")
	case l.Event != nil:
		s := &r.made.Steps[len(r.made.Steps)-1]
		s.Events = append(s.Events, *l.Event)
	case l.Whole != nil:
		r.documents[l.Document] = l.Whole
	default:
		d := delta{l.Set, l.Unset}
		r.documents[l.Document], err = d.apply(r.documents[l.Document])
	}
	return err
}

// close completes the last step with the documents as they are now.
func (r *reader) close() error {
	if len(r.made.Steps) == 0 {
		return nil
	}
	s := &r.made.Steps[len(r.made.Steps)-1]
	s.Explained = map[Pair]*api.Explanation{}
	for name, document := range r.documents {
		if err := s.set(name, document); err != nil {
			return fmt.Errorf("step %d: %s: %w", len(r.made.Steps)-1, name, err)
		}
	}
	if s.Status == nil {
		return fmt.Errorf("step %d has no status", len(r.made.Steps)-1)
	}
	return nil
}

// set sets a document of a step.
func (s *Step) set(name string, document any) error {
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	switch name {
	case documentStatus:
		return strictly(text).Decode(&s.Status)
	case documentSAs:
		return strictly(text).Decode(&s.SAs)
	case documentPairs:
		return strictly(text).Decode(&s.Pairs)
	}
	p, err := parsePair(name[min(len(documentExplain), len(name)):])
	if err != nil {
		return err
	}
	var x *api.Explanation
	if err := strictly(text).Decode(&x); err != nil {
		return err
	}
	s.Explained[p] = x
	return nil
}
