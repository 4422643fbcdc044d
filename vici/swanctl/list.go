package swanctl

import "strings"

// The keys whose values swanctl splits, and those whose values name files that it reads.
var (
	listKeys = []string{
		"local_addrs", "remote_addrs", "proposals", "esp_proposals", "ah_proposals", "local_ts", "remote_ts",
		"vips", "pools", "groups", "cert_policy",
	}
	fileKeys = []string{"certs", "cacerts", "pubkeys"}
)

func hasFold(keys []string, key string) bool {
	for _, k := range keys {
		if strings.EqualFold(k, key) {
			return true
		}
	}
	return false
}

// split splits a list at its commas and leaves out empty items. Quoted text is one item.
func split(value string) []string {
	items := []string{}
	for {
		value = strings.TrimLeft(value, " ,")
		if value == "" {
			return items
		}
		if quote := value[0]; quote == '"' || quote == '\'' {
			if item, rest, ok := strings.Cut(value[1:], string(quote)); ok {
				items, value = append(items, item), rest
				continue
			}
		}
		item, rest, _ := strings.Cut(value, ",")
		items, value = append(items, strings.TrimRight(item, " ")), rest
	}
}
