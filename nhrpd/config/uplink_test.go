package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Several devices in underlay are the first and those in reserve. The one key that they should not
// go without is named.
func TestSeveralUnderlays(t *testing.T) {
	several := strings.Replace(spoke, `underlay = "eth0"`, `underlay = ["eth0", "wwan0", "eth7"]
underlay_reserve = "warm"
underlay_return = "2m"`, 1)
	cfg := mustParse(t, several)
	i := cfg.Interfaces[0]
	if i.Underlay != (Underlay{Device: "eth0"}) ||
		!slices.Equal(i.Reserve, []string{"wwan0", "eth7"}) ||
		!i.WarmReserve || i.UnderlayReturn != 2*time.Minute {
		t.Errorf("underlay %+v, reserve %q, warm %v, return %v",
			i.Underlay, i.Reserve, i.WarmReserve, i.UnderlayReturn)
	}
	if len(cfg.Warnings) != 1 || !strings.Contains(cfg.Warnings[0], "without underlay_table") {
		t.Errorf("want a warning of the missing table, have %q", cfg.Warnings)
	}
	cfg = mustParse(t, strings.Replace(several, "underlay_reserve", "underlay_table = 100\nunderlay_reserve", 1))
	if i := cfg.Interfaces[0]; i.UnderlayTable != 100 || len(cfg.Warnings) > 0 {
		t.Errorf("underlay_table %d, warnings %q", i.UnderlayTable, cfg.Warnings)
	}
}
