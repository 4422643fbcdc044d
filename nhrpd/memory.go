package nhrpd

import (
	"runtime"
	"runtime/metrics"
)

// perClient is what takeMemory takes for each client that is expected, in bytes.
const perClient = 1 << 10

// takenPiece is the size of the pieces that takeMemory takes: as the heap takes them from the system for small values, so that it uses
// the same ones again.
const takenPiece = 8 << 10

// takeMemory touches the memory that the heap may grow by before its next collection. A hub's clients come all at once right after its
// start, and to be given each page by the kernel then costs more than to serve them. It takes no more than so many clients need.
func takeMemory(clients int) {
	runtime.GC() // what the start left behind
	heap := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(heap)
	goal, live := heap[0].Value.Uint64(), heap[1].Value.Uint64()
	if goal <= live {
		return
	}
	pieces := make([]*[takenPiece]byte, min(goal-live, uint64(clients)*perClient)/takenPiece)
	for i := range pieces {
		pieces[i] = new([takenPiece]byte)
		pieces[i][0], pieces[i][takenPiece/2] = 1, 1 // pages are of 4 KiB, or larger
	}
	runtime.KeepAlive(pieces)
	runtime.GC()
}
