package sim

// happenings is a heap of scheduled functions, ordered by time. Functions with the same time run in
// the order in which push added them.
type happenings struct {
	seq  uint64
	list []happening
}

// happening is one scheduled function.
type happening struct {
	at  int64
	seq uint64
	run func()
}

// before reports whether h runs before o.
func (h *happening) before(o *happening) bool {
	return h.at < o.at || h.at == o.at && h.seq < o.seq
}

// next returns the time of the next function. It returns false if the heap is empty.
func (h *happenings) next() (int64, bool) {
	if len(h.list) == 0 {
		return 0, false
	}
	return h.list[0].at, true
}

// push schedules a function.
func (h *happenings) push(at int64, run func()) {
	h.seq++
	h.list = append(h.list, happening{at: at, seq: h.seq, run: run})
	for i := len(h.list) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h.list[i].before(&h.list[parent]) {
			break
		}
		h.list[i], h.list[parent] = h.list[parent], h.list[i]
		i = parent
	}
}

// pop removes the next function and returns it. The heap must not be empty.
func (h *happenings) pop() func() {
	run, last := h.list[0].run, len(h.list)-1
	h.list[0], h.list[last] = h.list[last], happening{}
	h.list = h.list[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if h.list[child].before(&h.list[least]) {
				least = child
			}
		}
		if least == i {
			return run
		}
		h.list[i], h.list[least] = h.list[least], h.list[i]
		i = least
	}
}
