package ratelimit

// Shares counts how many rows of a table each key has. A key without rows takes no memory. The
// owner of the table compares the count with what one key may have before it adds a row.
type Shares[K comparable] map[K]int

// Take counts one more row for k.
func (s Shares[K]) Take(k K) { s[k]++ }

// GiveBack counts n rows less for k, which has no less than n.
func (s Shares[K]) GiveBack(k K, n int) {
	if left := s[k] - n; left > 0 {
		s[k] = left
	} else {
		delete(s, k)
	}
}

// Move counts n rows of from for to instead.
func (s Shares[K]) Move(from, to K, n int) {
	if n > 0 {
		s.GiveBack(from, n)
		s[to] += n
	}
}
