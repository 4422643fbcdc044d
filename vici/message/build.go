package message

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	govici "github.com/strongswan/govici/vici"
)

// New builds a message from nested maps, with the keys in alphabetical order. Values are string,
// bool (as yes or no), int, int64, []string, []any of strings, and map[string]any. The error names
// the key whose value is of another type.
func New(section map[string]any) (*govici.Message, error) {
	m := govici.NewMessage()
	for _, key := range slices.Sorted(maps.Keys(section)) {
		value, err := element(section[key])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if err := m.Set(key, value); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	return m, nil
}

// element returns a value as govici takes it.
func element(value any) (any, error) {
	switch v := value.(type) {
	case string, []string:
		return v, nil
	case bool:
		if v {
			return "yes", nil
		}
		return "no", nil
	case int:
		return strconv.Itoa(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case map[string]any:
		return New(v)
	case []any:
		list := make([]string, len(v))
		for i, item := range v {
			s, ok := item.(string)
			if !ok {
				return nil, fmt.Errorf("item %d is %T: lists hold strings", i+1, item)
			}
			list[i] = s
		}
		return list, nil
	}
	return nil,
		fmt.Errorf(
			"%T is no value of swanctl.conf: use a string, a number, a truth value, a list of strings or a table", value)
}
