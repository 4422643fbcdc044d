package ordered

import (
	"cmp"
	"slices"
	"testing"
)

// The values of a map come in the order of their keys.
func TestValues(t *testing.T) {
	m := map[string]int{"d": 1, "a": 4, "c": 2, "b": 3}
	if got := Values(m, cmp.Compare); !slices.Equal(got, []int{4, 3, 2, 1}) {
		t.Errorf("want the values of a, b, c and d: 4, 3, 2 and 1; have %v", got)
	}
	if got := Values(map[string]int{}, cmp.Compare); len(got) != 0 {
		t.Errorf("want no values of an empty map, have %v", got)
	}
}

// ValuesIf leaves out what the caller does not keep, and no more.
func TestValuesIf(t *testing.T) {
	m := map[string]int{"d": 1, "a": 4, "c": 2, "b": 3}
	even := func(v int) bool { return v%2 == 0 }
	if got := ValuesIf(m, cmp.Compare, even); !slices.Equal(got, []int{4, 2}) {
		t.Errorf("want the even values in the order of their keys: 4 and 2; have %v", got)
	}
}

// Without takes out one element and keeps the order of the others.
func TestWithout(t *testing.T) {
	for _, tt := range []struct{ list, want []int }{
		{[]int{1}, nil},
		{[]int{1, 2, 3}, []int{2, 3}},
		{[]int{2, 1, 3}, []int{2, 3}},
		{[]int{2, 3, 1}, []int{2, 3}},
		{[]int{2, 1, 1}, []int{2, 1}},
		{[]int{2, 3}, []int{2, 3}},
	} {
		if got := Without(slices.Clone(tt.list), 1); !slices.Equal(got, tt.want) {
			t.Errorf("%v without 1: want %v, have %v", tt.list, tt.want, got)
		}
	}
}

// The memory of a list holds nothing that was taken out of the list.
func TestWithoutReleases(t *testing.T) {
	for at := range 3 {
		values := []*int{new(int), new(int), new(int)}
		list := slices.Clone(values)
		Without(list, values[at])
		if slices.Contains(list, values[at]) {
			t.Errorf("the memory of the list still holds element %d", at)
		}
	}
}

// Taking the elements of a long list out from its beginning moves none of the others.
func TestWithoutFirstMovesNothing(t *testing.T) {
	list := []int{1, 2, 3}
	second := &list[1]
	if got := Without(list, 1); &got[0] != second {
		t.Error("Without moved the second element")
	}
}
