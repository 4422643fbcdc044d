package logging

import (
	"io"
	"sync"
)

// heldWriter writes each log line at once, except during together: then it writes all lines in one
// call.
type heldWriter struct {
	mu   sync.Mutex // guards what follows
	w    io.Writer
	hold bool   // together runs
	text []byte // the lines that are held
}

// heldMost bounds how many bytes are held.
const heldMost = 64 << 10

// Write writes a line, or holds it while together runs.
func (h *heldWriter) Write(line []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.hold {
		return h.w.Write(line)
	}
	h.text = append(h.text, line...)
	if len(h.text) < heldMost {
		return len(line), nil
	}
	return len(line), h.flush()
}

// together runs f. It holds what any goroutine logs in the meantime and writes it after f has
// returned.
func (h *heldWriter) together(f func()) {
	h.set(true)
	defer h.set(false)
	f()
}

// set begins or ends holding, and writes what is held.
func (h *heldWriter) set(hold bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hold = hold
	h.flush()
}

// flush writes what is held. The caller holds the lock.
func (h *heldWriter) flush() error {
	if len(h.text) == 0 {
		return nil
	}
	_, err := h.w.Write(h.text)
	h.text = h.text[:0]
	return err
}
