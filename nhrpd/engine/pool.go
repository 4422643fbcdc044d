package engine

// pool has values preallocated, as many as the clients of a large hub take, which come all at once.
// The values lie together, and their memory has been used: to get it page by page meanwhile costs
// more than a registration. What is taken is never put back. The memory of all values goes
// together, when all were taken and nothing refers to any. The zero value is empty.
type pool[T any] struct{ left []T }

// newPool returns a pool of so many zero values.
func newPool[T any](values int) pool[T] {
	left := make([]T, values)
	clear(left) // written once, so that the memory is there
	return pool[T]{left}
}

// take returns a zero value, which belongs to the caller. An empty pool allocates one.
func (p *pool[T]) take() *T {
	if len(p.left) == 0 {
		return new(T)
	}
	value := &p.left[0]
	if p.left = p.left[1:]; len(p.left) == 0 {
		p.left = nil
	}
	return value
}
