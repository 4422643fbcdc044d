package engine

// stock has values ready before they are needed, as many as a large hub's clients take, which come all at once. They lie together and
// their memory has been used: to get it page by page meanwhile costs more than a registration. What is taken is never put back, and the
// memory of all of them goes together: when all were taken and nothing holds any. The zero value is empty.
type stock[T any] struct{ left []T }

// newStock makes a stock of so many zero values.
func newStock[T any](values int) stock[T] {
	left := make([]T, values)
	clear(left) // written once, so that the memory is there
	return stock[T]{left}
}

// take returns a zero value, which belongs to the caller.
func (s *stock[T]) take() *T {
	if len(s.left) == 0 {
		return new(T)
	}
	value := &s.left[0]
	if s.left = s.left[1:]; len(s.left) == 0 {
		s.left = nil
	}
	return value
}
