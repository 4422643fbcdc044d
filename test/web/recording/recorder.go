package recording

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"cygnet/nhrpd/api"
)

// Recorder records what a daemon's API answers. It is not for use by several goroutines.
type Recorder struct {
	client  *api.Client
	made    *Recording
	shift   time.Duration // from the daemon's times to those of the recording
	journal string        // of the daemon
	last    uint64        // the number of the last event in the recording
	mesh    []string      // of the last step
}

// NewRecorder returns a recorder of the router with this name, whose daemon has this socket.
func NewRecorder(router, socket string) *Recorder {
	return &Recorder{client: api.Dial(socket), made: &Recording{Router: router}}
}

// Recording returns what was recorded.
func (r *Recorder) Recording() *Recording { return r.made }

// Look adds a step if the router's view of the mesh has changed since the last one.
func (r *Recorder) Look(ctx context.Context) error {
	s, err := r.ask(ctx)
	if err != nil || len(r.made.Steps) > 0 && slices.Equal(s.Mesh(), r.mesh) {
		return err
	}
	return r.add(ctx, s, nil)
}

// Note adds a step with a note and with accounts: of some pairs, and of those that the router
// remembers.
func (r *Recorder) Note(ctx context.Context, note string, explain ...Pair) error {
	s, err := r.ask(ctx)
	if err != nil {
		return err
	}
	s.Note = note
	for _, p := range s.Pairs {
		explain = append(explain, Pair{p.Destination, p.Source})
	}
	return r.add(ctx, s, explain)
}

// ask returns a step with the status.
func (r *Recorder) ask(ctx context.Context) (Step, error) {
	st, err := r.client.Status(ctx)
	if err != nil {
		return Step{}, err
	}
	if len(r.made.Steps) == 0 {
		r.shift, r.journal = Epoch.Sub(st.Now), st.Events.Journal
	}
	if st.Events.Journal != r.journal {
		return Step{}, fmt.Errorf("cygnetd on %s was started again: a recording has one journal",
			r.made.Router)
	}
	s := Step{Status: st}
	s.Pairs, err = r.pairs(ctx)
	return s, err
}

// pairs asks for the paths between others.
func (r *Recorder) pairs(ctx context.Context) (all []api.Pair, err error) {
	response, err := r.client.Show(ctx, "/v1/pairs", nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("cygnetd answers %s for the pairs", response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(&all); err != nil {
		return nil, fmt.Errorf("read the pairs: %w", err)
	}
	return all, nil
}

// add completes a step and adds it to the recording.
func (r *Recorder) add(ctx context.Context, s Step, explain []Pair) (err error) {
	mesh := s.Mesh()
	if s.SAs, err = r.client.SAs(ctx); err != nil {
		return err
	}
	// The events up to the status, and none after it.
	q := api.EventQuery{After: r.last, Journal: r.journal}
	if err := r.client.Events(ctx, q, func(e api.Event) error {
		if e.Number <= s.Status.Events.Last {
			s.Events, r.last = append(s.Events, e), e.Number
		}
		return nil
	}); err != nil {
		return err
	}
	s.Explained = make(map[Pair]*api.Explanation)
	for _, p := range explain {
		if s.Explained[p], err = r.client.Explain(ctx, p.Destination, p.Source); err != nil {
			return fmt.Errorf("explain %s: %w", p, err)
		}
	}
	if s, err = r.neutral(s); err != nil {
		return err
	}
	if n := len(r.made.Steps); n > 0 {
		for p, x := range r.made.Steps[n-1].Explained {
			if s.Explained[p] == nil {
				s.Explained[p] = x
			}
		}
	}
	r.made.Steps, r.mesh = append(r.made.Steps, s), mesh
	return nil
}

// neutral returns a copy of a step with the recording's times and names in the place of those of
// this run.
func (r *Recorder) neutral(s Step) (Step, error) {
	s.Status.Version, s.Status.PID, s.Status.Events.Journal = version, 1, journal
	s.Status.Memory = api.Memory{}
	var c Step
	if err := r.copy(s.Status, &c.Status); err != nil {
		return c, err
	}
	if err := r.copy(s.SAs, &c.SAs); err != nil {
		return c, err
	}
	if err := r.copy(s.Pairs, &c.Pairs); err != nil {
		return c, err
	}
	if err := r.copy(s.Events, &c.Events); err != nil {
		return c, err
	}
	c.Note, c.Explained = s.Note, make(map[Pair]*api.Explanation)
	for p, x := range s.Explained {
		var moved *api.Explanation
		if err := r.copy(x, &moved); err != nil {
			return c, err
		}
		c.Explained[p] = moved
	}
	return c, nil
}

// copy copies a document into the value that into points to, and moves all times.
func (r *Recorder) copy(from, into any) error {
	document, err := generic(from)
	if err != nil {
		return err
	}
	text, err := json.Marshal(moved(document, r.shift))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// moved returns a document with all times moved by d and rounded to milliseconds.
func moved(document any, d time.Duration) any {
	switch v := document.(type) {
	case map[string]any:
		for key := range v {
			v[key] = moved(v[key], d)
		}
	case []any:
		for i := range v {
			v[i] = moved(v[i], d)
		}
	case string:
		if at, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return at.Add(d).UTC().Round(time.Millisecond).Format(time.RFC3339Nano)
		}
	}
	return document
}
