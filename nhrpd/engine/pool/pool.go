package pool

// Pool holds preallocated values, as many as the clients of a large hub take. Those clients all
// come at once, and at that moment memory that the kernel hands out page by page would cost more
// than a registration does. So the values lie together in memory that New has written already.
//
// A value that was taken never goes back. The memory of all values is freed together, once all were
// taken and nothing refers to any of them. The zero value is an empty pool.
type Pool[T any] struct{ left []T }

// New returns a pool of that many zero values.
func New[T any](values int) Pool[T] {
	left := make([]T, values)
	clear(left) // writes each page once, so that the kernel provides the memory now
	return Pool[T]{left}
}

// Take returns a zero value, which belongs to the caller. If the pool is empty, Take allocates one.
func (p *Pool[T]) Take() *T {
	if len(p.left) == 0 {
		return new(T)
	}
	value := &p.left[0]
	if p.left = p.left[1:]; len(p.left) == 0 {
		p.left = nil
	}
	return value
}
