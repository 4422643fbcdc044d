package ordered

import (
	"maps"
	"net/netip"
	"slices"
)

// Values returns the values of a map in the order of their keys. It is for loops whose order shows
// in the output.
func Values[K comparable, V any](m map[K]V, compare func(K, K) int) []V {
	keys, values := slices.AppendSeq(make([]K, 0, len(m)), maps.Keys(m)), make([]V, 0, len(m))
	slices.SortFunc(keys, compare)
	for _, k := range keys {
		values = append(values, m[k])
	}
	return values
}

// ValuesIf returns those values of a map for which keep returns true, in the order of their keys.
// It sorts only those, which costs less where an event concerns few of them.
func ValuesIf[K comparable, V any](m map[K]V, compare func(K, K) int, keep func(V) bool) []V {
	var keys []K
	for k, v := range m {
		if keep(v) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, compare)
	values := make([]V, 0, len(keys))
	for _, k := range keys {
		values = append(values, m[k])
	}
	return values
}

// Without returns the list without its first element equal to v; it reuses the list's memory. A
// peer may have thousands of references that end one after the other in the order of the list, so
// taking out the first element moves no other.
func Without[T comparable](list []T, v T) []T {
	i := slices.Index(list, v)
	switch {
	case i < 0:
		return list
	case i == 0 && len(list) > 1:
		var none T
		list[0] = none
		return list[1:]
	}
	return slices.Delete(list, i, i+1)
}

// ByAddr orders addresses.
func ByAddr(a, b netip.Addr) int { return a.Compare(b) }

// ByPrefix orders prefixes.
func ByPrefix(a, b netip.Prefix) int { return a.Compare(b) }

// Keys returns the keys of a map in order.
func Keys[K comparable, V any](m map[K]V, compare func(K, K) int) []K {
	keys := slices.AppendSeq(make([]K, 0, len(m)), maps.Keys(m))
	slices.SortFunc(keys, compare)
	return keys
}
