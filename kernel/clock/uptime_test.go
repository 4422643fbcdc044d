package clock

import "testing"

// The uptime grows, and the id of the boot stays the same.
func TestUptime(t *testing.T) {
	boot, first, err := Uptime()
	if err != nil || boot == "" || first <= 0 {
		t.Fatalf("boot %q, up %s, %v", boot, first, err)
	}
	again, second, err := Uptime()
	if err != nil || again != boot || second < first {
		t.Errorf("later: boot %q, up %s, %v", again, second, err)
	}
}
