package nhrpd

import (
	"os"
	"runtime"
	"runtime/metrics"
)

// mostTaken bounds what takeMemory takes, in bytes.
const mostTaken = 4 << 20

// takeMemory touches the memory that the heap may grow by before its next collection. A hub's clients come all at once right after its
// start, and to be given each page by the kernel then costs more than to serve them.
func takeMemory() {
	runtime.GC() // what the start left behind
	heap := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(heap)
	goal, live := heap[0].Value.Uint64(), heap[1].Value.Uint64()
	if goal <= live {
		return
	}
	memory := make([]byte, min(goal-live, mostTaken))
	for i := 0; i < len(memory); i += os.Getpagesize() {
		memory[i] = 1
	}
	runtime.KeepAlive(memory)
	runtime.GC()
}
