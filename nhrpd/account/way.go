package account

import (
	"fmt"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/wording"
)

func routeLines(r *api.ExplainedRoute) []string {
	if r.Error != "" {
		return []string{r.Error}
	}
	way := "directly"
	if r.NextHop.IsValid() {
		way = "via " + r.NextHop.String()
	}
	text := fmt.Sprintf("%s %s on %s (table %d, metric %d)",
		r.Prefix, way, r.Device, r.Table, r.Metric)
	if r.Kind != "" && r.Kind != "unicast" {
		text = r.Kind + " " + text
	}
	if r.MTU != 0 {
		text += fmt.Sprintf(", MTU %d", r.MTU)
	}
	return []string{text + ": put there " + r.Maker}
}

func tunnelLines(t *api.ExplainedTunnel) []string {
	switch {
	case !t.GRE:
		return []string{t.Interface + " is no GRE tunnel with many peers"}
	case !t.Ours:
		return []string{
			fmt.Sprintf("%s sends from %s; the daemon is gone, so its settings are not known",
				t.Interface, wording.Or(t.NBMA, "no address")),
		}
	}
	text := fmt.Sprintf("%s sends from %s", t.Interface, wording.Or(t.NBMA, "no address"))
	if t.Public.IsValid() {
		text += ", which NAT turns into " + t.Public.String()
	}
	text += map[bool]string{true: "; IPsec is required", false: "; NO IPsec"}[t.Protected]
	text += map[bool]string{true: "; shortcuts on", false: "; shortcuts off"}[t.Shortcut]
	text += map[bool]string{true: "; redirect on", false: "; redirect off"}[t.Redirect]
	lines := []string{text}
	if t.Left {
		lines = append(lines, "this router said goodbye there")
	}
	if !t.Up && !t.Left {
		lines = append(lines, "it is DOWN")
	}
	if t.Error != "" {
		lines = append(lines, t.Error)
	}
	return lines
}
