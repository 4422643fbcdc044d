// Package pretouch has the heap own memory before it is needed.
package pretouch

import (
	"runtime"
	"runtime/metrics"
)

// perClient is how many bytes Memory takes for each expected client.
const perClient = 1 << 10

// takenPiece is the size of the pieces that Memory allocates, in bytes. The heap takes memory
// from the kernel in pieces of this size for small values, so it can use the same pieces for them
// later.
const takenPiece = 8 << 10

// Memory touches memory that the heap may use before its next collection, as much as that many
// clients need. All clients of a hub come at once, right after the hub's start. If the kernel had
// to supply each page at that time, supplying the pages would cost more than serving the clients.
// Memory collects garbage twice, so it is for the end of a start.
func Memory(clients int) {
	runtime.GC() // frees what the start no longer needs
	heap := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(heap)
	goal, live := heap[0].Value.Uint64(), heap[1].Value.Uint64()
	if goal <= live {
		return
	}
	pieces := make([]*[takenPiece]byte, min(goal-live, uint64(clients)*perClient)/takenPiece)
	for i := range pieces {
		pieces[i] = new([takenPiece]byte)
		pieces[i][0], pieces[i][takenPiece/2] = 1, 1 // a page has 4 KiB or more
	}
	runtime.KeepAlive(pieces)
	runtime.GC()
}
