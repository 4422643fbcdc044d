package config

import (
	"slices"
	"time"

	"cygnet/nhrpd/config/document"
	"cygnet/nhrpd/duration"
)

// number checks that an integer is between least and most. It returns the default if the file does
// not have the key.
func number[N ~int | ~uint8 | ~uint32](
	c *checker, v document.Value[int64], def N, least, most int64,
) N {
	if !v.Set {
		return def
	}
	if v.V < least || v.V > most {
		c.Report(v.At, "found %d, allowed is %d to %d", v.V, least, most)
		return def
	}
	return N(v.V)
}

// duration does the same for a duration.
func (c *checker) duration(
	v document.Value[time.Duration], def, least, most time.Duration,
) time.Duration {
	if !v.Set {
		return def
	}
	if v.V < least || v.V > most {
		c.Report(v.At, "found %s, allowed is %s to %s",
			duration.Format(v.V), duration.Format(least), duration.Format(most))
		return def
	}
	return v.V
}

// seconds does the same for a duration that NHRP or strongSwan counts in whole seconds.
func (c *checker) seconds(
	v document.Value[time.Duration], def, least, most time.Duration,
) time.Duration {
	d := c.duration(v, def, least, most)
	if d%time.Second != 0 {
		c.Report(v.At, "found %s, allowed are whole seconds", duration.Format(d))
	}
	return d
}

// word checks that a string is one of those allowed.
func (c *checker) word(v document.Value[string], def string, allowed ...string) string {
	if !v.Set {
		return def
	}
	if !slices.Contains(allowed, v.V) {
		c.Report(v.At, "found %s%s", document.Quote(v.V), document.DidYouMean(v.V, allowed))
		return def
	}
	return v.V
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
