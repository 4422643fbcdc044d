package statedir

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cygnet/nhrpd/engine"
)

// The file keeps its form over versions: a block must not be lost in an upgrade.
func TestFormOfTheBlockedFile(t *testing.T) {
	const form = `[
  {
    "Identity": "a",
    "Since": "2026-11-30T12:00:00Z",
    "Until": "0001-01-01T00:00:00Z"
  }
]
`
	f := Blocked{Dir: t.TempDir()}
	if err := os.WriteFile(f.Path(), []byte(form), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []engine.Block{
		{Identity: "a", Since: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)},
	}
	got, err := f.Load()
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Fatalf("loaded with error %v (- want, + got):\n%s", err, d)
	}
	if err := f.Save(want); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(f.Path()); err != nil || string(data) != form {
		t.Errorf("saved with error %v:\n%swant:\n%s", err, data, form)
	}
}

// A block outlasts the daemon. A list that cannot be read is an error, which keeps the daemon from
// starting, so that it lets in nobody by accident.
func TestBlockedFile(t *testing.T) {
	f := Blocked{Dir: t.TempDir() + "/new"}
	if got, err := f.Load(); err != nil || got != nil {
		t.Errorf("no file: %v %v", got, err)
	}
	now := time.Now()
	want := []engine.Block{
		{Identity: "a", Since: now},
		{Identity: "b", Since: now, Until: now.Add(-time.Second)},
	}
	if err := f.Save(want); err != nil {
		t.Fatal(err)
	}
	got, err := f.Load()
	if err != nil || len(got) != 2 || !got[0].Since.Equal(now) {
		t.Errorf("loaded %+v, %v", got, err)
	}
	if err := os.WriteFile(f.Path(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(); err == nil ||
		!strings.Contains(err.Error(), "remove the file to start with nobody blocked") {
		t.Errorf("a broken file: %v", err)
	}
}
