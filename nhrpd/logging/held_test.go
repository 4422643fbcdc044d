package logging

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// writes has the text of each write.
type writes []string

// Write records one write.
func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

// The lines of one turn are one write. A line outside a turn is written at once.
func TestHeldWriterWritesOneTurnTogether(t *testing.T) {
	var out writes
	h := &heldWriter{w: &out}
	fmt.Fprintln(h, "before")
	h.together(func() {
		fmt.Fprintln(h, "first")
		fmt.Fprintln(h, "second")
		if len(out) != 1 {
			t.Errorf("during the turn there are the writes %q", out)
		}
	})
	fmt.Fprintln(h, "after")
	h.together(func() {})
	want := []string{"before\n", "first\nsecond\n", "after\n"}
	if fmt.Sprint(out) != fmt.Sprint(want) {
		t.Errorf("the writes are %q, want %q", out, want)
	}
}

// However much one turn logs, heldWriter holds little of it and loses nothing.
func TestHeldWriterIsBounded(t *testing.T) {
	var out bytes.Buffer
	h := &heldWriter{w: &out}
	line := strings.Repeat("x", 1000) + "\n"
	h.together(func() {
		for range 1000 {
			fmt.Fprint(h, line)
			if len(h.text) >= heldMost {
				t.Fatalf("%d bytes are held", len(h.text))
			}
		}
	})
	if got := strings.Count(out.String(), line); got != 1000 {
		t.Errorf("of 1000 lines %d were written", got)
	}
}
