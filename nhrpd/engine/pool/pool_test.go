package pool

import (
	"runtime"
	"testing"
	"weak"
)

// client is what the pools of these tests hold.
type client struct {
	name  string
	bytes [64]byte
}

// A pool hands out each value once, as a zero value, and never runs out.
func TestPool(t *testing.T) {
	for _, ready := range []int{0, 3} {
		p := New[client](ready)
		taken := map[*client]bool{}
		for range 5 {
			c := p.Take()
			if taken[c] || *c != (client{}) {
				t.Errorf("with %d ready: want a value of its own that is zero, have %+v", ready, c)
			}
			c.name, c.bytes[0] = "spoke1", 1
			taken[c] = true
		}
	}
}

// Taking a value that is ready allocates nothing.
func TestTakeAllocatesNothing(t *testing.T) {
	const runs = 100
	p := New[client](runs + 1)
	if got := testing.AllocsPerRun(runs, func() { p.Take() }); got != 0 {
		t.Errorf("want no allocation for a value that is ready, have %v", got)
	}
}

// Once all values were taken and nothing refers to any, their memory is freed, even if the pool
// itself stays.
func TestEmptyPoolHoldsNothing(t *testing.T) {
	p := New[client](2)
	first := weak.Make(p.Take())
	p.Take()
	runtime.GC()
	if first.Value() != nil {
		t.Error("the pool holds what was taken from it")
	}
	runtime.KeepAlive(&p)
}
