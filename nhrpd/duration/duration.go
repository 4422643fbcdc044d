// Package duration writes and reads durations as the configuration and the command line have them.
package duration

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Format writes a duration as one would write it in a configuration: 24h, not 24h0m0s.
func Format(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Parse reads a duration in Go's notation, which may begin with a number of days, d: 90m,
// 1d, 1d12h.
func Parse(s string) (time.Duration, error) {
	rest := s
	var sum time.Duration
	if days, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0,
				fmt.Errorf("found %q, allowed is a time with its unit, such as 90m, 12h or 1d", s)
		}
		sum, rest = time.Duration(n)*24*time.Hour, after
		if rest == "" {
			return sum, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 && sum > 0 {
		return 0, fmt.Errorf("found %q, allowed is a time with its unit, such as 90m, 12h or 1d", s)
	}
	return sum + d, nil
}
