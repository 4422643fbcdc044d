package duration

import (
	"testing"
	"time"
)

// Format writes a duration as a user would, and Parse also reads days.
func TestDurations(t *testing.T) {
	for text, d := range map[string]time.Duration{
		"0s": 0, "1ms": time.Millisecond, "10s": 10 * time.Second, "1m": time.Minute,
		"1m30s": 90 * time.Second, "24h": 24 * time.Hour,
		"1h30m": 90 * time.Minute, "1h0m30s": time.Hour + 30*time.Second,
		"18h12m15s": 65535 * time.Second, "168h": 168 * time.Hour,
	} {
		if got := Format(d); got != text {
			t.Errorf("%v is written as %s, want %s", d, got, text)
		}
		if got, err := Parse(text); err != nil || got != d {
			t.Errorf("%s is read as %v, %v", text, got, err)
		}
	}
	for text, d := range map[string]time.Duration{
		"1d": 24 * time.Hour, "1d12h": 36 * time.Hour, "30d": 720 * time.Hour, "1h": time.Hour,
		"-1s": -time.Second,
	} {
		if got, err := Parse(text); err != nil || got != d {
			t.Errorf("%s is read as %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "1", "1dd", "1d-1h", "xd", "-1d", "soon", "99999999d"} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}
