package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"cygnet/nhrpd/config"
)

// frrFiles are the files that FRR's daemons read their configuration from: one for all of them, or
// one for each.
var frrFiles = []string{
	"frr.conf", "babeld.conf", "bgpd.conf", "eigrpd.conf", "isisd.conf", "ospf6d.conf",
	"ospfd.conf", "ripd.conf", "ripngd.conf",
}

// Redistribution checks whether FRR's configuration has a routing protocol announce the routes of
// shortcuts. FRR takes them for routes of the kernel. It looks at the files only: what was entered
// in vtysh and not written is not seen, and neither is what a route map really denies.
func (h Host) Redistribution(c *config.Config) []Finding {
	shortcuts := false
	for _, i := range c.Interfaces {
		shortcuts = shortcuts || i.Shortcut
	}
	if !shortcuts || h.FRR == "" {
		return nil
	}
	var all []Finding
	for _, name := range frrFiles {
		path := filepath.Join(h.FRR, name)
		text, _, err := read(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			all = append(all, Finding{
				About:    AboutRouting,
				Severity: Warning,
				Text:     fmt.Sprintf("whether FRR announces shortcuts was not looked at: %v", err),
			})
		default:
			all = append(all, unfiltered(path, string(text))...)
		}
	}
	return all
}

// unfiltered returns a finding for each line of FRR's configuration that announces the kernel's
// routes without a route map.
func unfiltered(path, text string) []Finding {
	var all []Finding
	router := ""
	number := 0
	for line := range strings.Lines(text) {
		number++
		words := strings.Fields(line)
		switch {
		case len(words) > 1 && words[0] == "router":
			router = strings.Join(words[:2], " ")
		case len(words) > 1 && words[0] == "redistribute" && words[1] == "kernel" &&
			!strings.Contains(line, "route-map"):
			all = append(all, Finding{
				About:    AboutRouting,
				Severity: Warning,
				Text: fmt.Sprintf("%s, line %d: %s announces the kernel's routes without a route map, and the routes of shortcuts are among them: the other sites'"+
					" traffic would come here; add a route-map that denies what leads into the tunnel (match interface), as in examples/frr/spoke.conf",
					path, number, router),
			})
		}
	}
	return all
}
