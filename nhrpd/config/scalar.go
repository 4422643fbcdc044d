package config

import (
	"slices"
	"time"
)

// number checks that an integer is between least and most. It returns the default if the file does
// not have the key.
func number[N ~int | ~uint8 | ~uint32](c *checker, v value[int64], def N, least, most int64) N {
	if !v.set {
		return def
	}
	if v.v < least || v.v > most {
		c.problem(v.at, "found %d, allowed is %d to %d", v.v, least, most)
		return def
	}
	return N(v.v)
}

// duration does the same for a duration.
func (c *checker) duration(v value[time.Duration], def, least, most time.Duration) time.Duration {
	if !v.set {
		return def
	}
	if v.v < least || v.v > most {
		c.problem(v.at, "found %s, allowed is %s to %s",
			FormatDuration(v.v), FormatDuration(least), FormatDuration(most))
		return def
	}
	return v.v
}

// seconds does the same for a duration that NHRP or strongSwan counts in whole seconds.
func (c *checker) seconds(v value[time.Duration], def, least, most time.Duration) time.Duration {
	d := c.duration(v, def, least, most)
	if d%time.Second != 0 {
		c.problem(v.at, "found %s, allowed are whole seconds", FormatDuration(d))
	}
	return d
}

// word checks that a string is one of those allowed.
func (c *checker) word(v value[string], def string, allowed ...string) string {
	if !v.set {
		return def
	}
	if !slices.Contains(allowed, v.v) {
		c.problem(v.at, "found %s%s", quote(v.v), didYouMean(v.v, allowed))
		return def
	}
	return v.v
}

// printable reports whether a string is fit for a log line and for VICI: it is not empty and has no
// control characters.
func printable(s string) bool {
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '\ufffd' {
			return false
		}
	}
	return s != ""
}
