package profile

import (
	"net/netip"
	"testing"

	"cygnet/vici/message"
)

// The policies of SAs have a priority in front of the passthrough policies of other programs, and
// those of SAs with marks one in front of that. What the profile's maker or the site sets stays.
func TestPriorities(t *testing.T) {
	site := func(priority string) Profile {
		p := siteProfile()
		if priority != "" {
			p.Site.Child["priority"] = priority
		}
		return p
	}
	own := func(priority any) Profile {
		return Profile{Interface: "gre1", Child: map[string]any{"priority": priority}}
	}
	for _, c := range []struct {
		name          string
		applied       Profile
		all           int    // what all SAs have for sure
		plain, marked string // what charon is told
	}{
		{"by default", Profile{Interface: "gre1"}, 1000, "1000", "900"},
		{"set in the configuration", own("400"), 400, "400", "399"},
		{"set to charon's own", own("0"), 0, "0", "900"},
		{"the least", own(int64(2)), 2, "2", "1"},
		{"a site without", site(""), 0, "1000", "900"},
		{"a site with", site("5000"), 5000, "5000", "900"},
		{"a site with one in front", site("70"), 70, "70", "69"},
	} {
		if got := c.applied.Priority(); got != c.all {
			t.Errorf("%s: all SAs have priority %d, want %d", c.name, got, c.all)
		}
		for _, marked := range []bool{false, true} {
			m, err := c.applied.NewConnection(netip.MustParseAddr("192.0.2.7"), marked)
			if err != nil {
				t.Fatal(err)
			}
			name, want := ConnectionName("gre1", netip.MustParseAddr("192.0.2.7")), c.plain
			if marked {
				name, want = SharedName("gre1", netip.MustParseAddr("192.0.2.7")), c.marked
			}
			conn, _ := message.Section(m, name)
			children, _ := message.Section(conn, "children")
			gre, _ := message.Section(children, "gre")
			if got := message.Text(gre, "priority"); got != want {
				t.Errorf("%s, marked %v: priority %q, want %q", c.name, marked, got, want)
			}
		}
	}
}
