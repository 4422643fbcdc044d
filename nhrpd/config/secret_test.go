package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Load refuses a secret in another program's notation if it cannot be anybody's secret. Otherwise
// it uses the secret as it stands, with a warning. Neither message shows the secret.
func TestSecretInAnotherNotation(t *testing.T) {
	const key = "hunter2hunter2hunter2x"
	const hexKey, base64Key = "68756e746572326875", "aHVudGVyMmh1bnRlcjJodW50"
	for name, c := range map[string]struct {
		text  string
		wrong string // part of the error; empty: the secret is accepted
		warns string // part of the warning; empty: there is none
	}{
		"as it should be":         {key, "", ""},
		"a line of ipsec.secrets": {`192.0.2.1 : PSK "` + key + `"`, "a line of another program's file", ""},
		"one for everybody": {": PSK 0s" + base64Key, "a line of another program's file",
			""},
		"a line of swanctl.conf":    {"secret = " + key, "a line of another program's file", ""},
		"a router's line":           {"ip nhrp authentication " + key, "a line of another program's file", ""},
		"hexadecimal":               {"0x" + hexKey, "", "reads like 0x and hexadecimal digits"},
		"hexadecimal in capitals":   {"0X" + strings.ToUpper(hexKey), "", "reads like 0x and hexadecimal digits"},
		"base64":                    {"0s" + base64Key, "", "reads like 0s and base64"},
		"base64 with its end":       {"0sMTIzNDU2Nzg5MDEyMzQ1Ng==", "", "reads like 0s and base64"},
		"base64 without its end":    {"0sMTIzNDU2Nzg5MDEyMzQ1Ng", "", "reads like 0s and base64"},
		"made by openssl, 0s ahead": {"0sXk3mP9qLr7vT2wYz5bN8cD1fG4hJ6kM0oQaSdUeWi=", "", ""},
		"0x without digits":         {"0xhunter2hunter2hunter2", "", ""},
		"in quotes":                 {`"` + key + `"`, "", "has quotation marks around the secret"},
		"in single quotes":          {"'" + key + "'", "", "has quotation marks around the secret"},
		"in typographic quotes":     {"\u201c" + key + "\u201d", "", "has typographic quotation marks around the secret"},
		"in German ones":            {"\u201e" + key + "\u201c", "", "has typographic quotation marks around the secret"},
		"in French ones":            {"\u00ab" + key + "\u00bb", "", "has typographic quotation marks around the secret"},
		"with a quote inside":       {`hunter2"hunter2hunter2`, "", ""},
		"with a byte order mark":    {"\ufeff" + key, "", "begins with a byte order mark"},
		"with a blank behind":       {key + " ", "", "has blanks before or after the secret"},
		"with a blank inside":       {"hunter2 hunter2 hunter2", "", ""},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			s := newSite(t)
			s.spoke("")
			s.write("gre1.psk", c.text+"\n", 0o600)
			cfg, err := Load(s.path("cygnet.toml"))
			said := fmt.Sprint(err)
			switch {
			case c.wrong != "":
				var problem *Problem
				if !errors.As(err, &problem) ||
					!strings.Contains(said, "interface.gre1.ipsec.psk_file") ||
					!strings.Contains(said, c.wrong) {
					t.Errorf("error %v, want one of psk_file with %q", err, c.wrong)
				}
			case err != nil:
				t.Fatal(err)
			default:
				said = strings.Join(cfg.Warnings, "\n")
				if c.warns == "" && said != "" || !strings.Contains(said, c.warns) {
					t.Errorf("warnings %q, want %q", said, c.warns)
				}
				if got := string(cfg.Interfaces[0].IPsec.PSK); got != c.text {
					t.Error("the secret is not taken as it stands")
				}
			}
			for _, piece := range []string{"hunter2", hexKey[:6], base64Key[:6], "MTIzND"} {
				if strings.Contains(said, piece) {
					t.Errorf("a part of the secret is in: %s", said)
				}
			}
		})
	}
}
