package nhrpd

import (
	"io"
	"sync"
)

// heldLog writes log lines through, and those of one turn of the loop together: a thousand clients that register at once are a
// thousand lines, and a system call for each would cost more than the registration.
type heldLog struct {
	mu   sync.Mutex
	w    io.Writer
	hold bool
	text []byte
}

// heldMost bounds what is held, in bytes.
const heldMost = 64 << 10

// Write takes over a line.
func (h *heldLog) Write(line []byte) (int, error) {
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

// together runs f and writes what is logged meanwhile, by whomever, at its end.
func (h *heldLog) together(f func()) {
	h.set(true)
	defer h.set(false)
	f()
}

func (h *heldLog) set(hold bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hold = hold
	h.flush()
}

// flush writes what is held. The lock is held.
func (h *heldLog) flush() error {
	if len(h.text) == 0 {
		return nil
	}
	_, err := h.w.Write(h.text)
	h.text = h.text[:0]
	return err
}
