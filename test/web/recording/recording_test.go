package recording

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cygnet/nhrpd/api"
)

// example is a recording in which fields change, come and go, and lists grow and shrink.
func example() *Recording {
	pair := Pair{Destination: netip.MustParseAddr("10.255.0.12")}
	from := Pair{pair.Destination, netip.MustParseAddr("10.255.0.11")}
	status := func(second int, peers ...api.Peer) *api.Status {
		return &api.Status{
			Now:        Epoch.Add(time.Duration(second) * time.Second),
			Interfaces: []api.Interface{{Name: "gre1", Peers: peers}},
		}
	}
	lost := api.Peer{NBMA: netip.MustParseAddr("192.0.2.12"), State: "securing", Error: "a/b~c"}
	well := api.Peer{NBMA: netip.MustParseAddr("192.0.2.12"), State: "secured"}
	account := func(path api.PathKind) *api.Explanation {
		return &api.Explanation{Destination: pair.Destination,
			Verdict: api.ExplainedVerdict{Path: path}}
	}
	first := map[Pair]*api.Explanation{pair: account("hub")}
	return &Recording{Router: "hub", Steps: []Step{
		{Note: "first", Status: status(0, lost), Explained: first,
			Events: []api.Event{{Number: 1, Event: "started"}, {Number: 2, Event: "refused"}}},
		{Status: status(1, well, lost), Explained: first, SAs: []api.SA{{ID: 1 << 31}}},
		{Note: "last", Status: status(2, lost), Events: []api.Event{{Number: 3}},
			SAs: []api.SA{{ID: 1 << 31, State: "ESTABLISHED"}},
			Explained: map[Pair]*api.Explanation{
				pair: account("direct"), from: account("none"),
			}},
	}}
}

// options compares addresses by their value.
var options = []cmp.Option{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

// What is written is read, and only what changed is written.
func TestWriteAndRead(t *testing.T) {
	want := example()
	var b bytes.Buffer
	if err := want.write(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	got, err := read(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if diff := cmp.Diff(want, got, options...); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	if n := strings.Count(text, `"gre1"`); n != 1 {
		t.Errorf("the interface's name is written %d times and never changes:\n%s", n, text)
	}
	if !strings.Contains(text, `"/now":"2026-01-05T03:00:02Z"`) {
		t.Errorf("no line has the time of the last step as a change:\n%s", text)
	}
}

// A recording that does not fit is refused, with the line.
func TestReadRefuses(t *testing.T) {
	const start = `{"router":"hub"}` + "\n" + `{"step":0,"note":"x"}` + "\n"
	for name, c := range map[string]struct{ text, says string }{
		"no JSON":            {start + "x", "line 3"},
		"a field of no type": {start + `{"document":"status","whole":{"nonsense":1}}`, "nonsense"},
		"no such place":      {start + `{"document":"status","set":{"/a/b":1}}`, "no such place"},
		"beyond a list": {start + `{"document":"sas","whole":[]}` + "\n" +
			`{"document":"sas","set":{"/1":{}}}`, "0 entries"},
		"a step is missing": {start + `{"step":2}`, "want 1"},
		"no status":         {start, "no status"},
		"no step":           {`{"document":"sas","whole":[]}`, "before the first step"},
		"no pair":           {start + `{"document":"explain x","whole":{}}`, "x"},
	} {
		if _, err := read(strings.NewReader(c.text)); err == nil ||
			!strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: found the error %v, want one with %q", name, err, c.says)
		}
	}
}

// A text is replaced in all documents, and nothing else changes.
func TestReplace(t *testing.T) {
	r, want := example(), example()
	if err := r.Replace("a/b", "<b>"); err != nil {
		t.Fatal(err)
	}
	for n := range want.Steps {
		peers := want.Steps[n].Status.Interfaces[0].Peers
		for i := range peers {
			peers[i].Error = strings.ReplaceAll(peers[i].Error, "a/b", "<b>")
		}
	}
	if diff := cmp.Diff(want, r, options...); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// Times are moved, also those in lists, and nothing else is.
func TestTimesAreMoved(t *testing.T) {
	document := map[string]any{
		"now": "2027-05-05T10:00:00.123456789+02:00", "until": []any{"2027-05-05T08:00:01Z"},
		"text": "since 2027-05-05T08:00:01Z",
	}
	got := moved(document, Epoch.Sub(time.Date(2027, 5, 5, 8, 0, 0, 0, time.UTC)))
	want := map[string]any{
		"now": "2026-01-05T03:00:00.123Z", "until": []any{"2026-01-05T03:00:01Z"},
		"text": "since 2027-05-05T08:00:01Z",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// The shape tells a field of another kind and one that is missing.
func TestShapeTellsChanges(t *testing.T) {
	was := Shape{"status/now": "text", "status/pid": "number", "status/problems": "list"}
	is := Shape{"status/now": "number", "status/problems": "list"}
	got := was.Compare(is, []string{"status/now", "status/version"})
	want := []string{"status/now is a number, was a text", "nothing has status/version"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// The recordings of the lab are whole, small, and have nothing of the machine that made them. The
// page's needs are met.
func TestRecordingsOfTheLab(t *testing.T) {
	files, err := filepath.Glob("../testdata/*.ndjson")
	if err != nil || len(files) != 2 {
		t.Fatalf("found the recordings %q, want two: %v", files, err)
	}
	size := 0
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		size += len(text)
		for _, word := range []string{"/work", "/root", "/home", "/tmp", "/dev/shm", "a long key",
			"psk"} {
			if bytes.Contains(text, []byte(word)) {
				t.Errorf("%s has %q in it", path, word)
			}
		}
		r, err := ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		shape, err := r.Shape()
		if err != nil {
			t.Fatal(err)
		}
		for _, fault := range shape.Compare(shape, r.Needs()) {
			t.Errorf("%s: %s", path, fault)
		}
		inOrder(t, r)
	}
	if size > 500_000 {
		t.Errorf("the recordings have %d bytes together, allowed are 500000", size)
	}
}

// inOrder checks that a recording begins at the epoch and that its events have all numbers.
func inOrder(t *testing.T, r *Recording) {
	t.Helper()
	last := uint64(0)
	for n, s := range r.Steps {
		if n == 0 && !s.Status.Now.Equal(Epoch) {
			t.Errorf("the recording of %s begins at %s, want %s", r.Router, s.Status.Now, Epoch)
		}
		if n > 0 && s.Status.Now.Before(r.Steps[n-1].Status.Now) {
			t.Errorf("step %d of %s is before the one before it", n, r.Router)
		}
		for _, e := range s.Events {
			if e.Number != last+1 {
				t.Errorf("step %d of %s has event %d after %d", n, r.Router, e.Number, last)
			}
			last = e.Number
		}
	}
}
