package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// misplaced holds ways to write a secret into the wrong place of a configuration. S stands for the
// secret.
var misplaced = []string{
	"authentication = S",
	"authentication = \"S",
	"authentication = 'S",
	"authentication = \"S\" x",
	"authentication = S\"",
	"authentication = \"\\S\"",
	"authentication \"S\"",
	"authentication: S",
	"authentication = [\"S\"]",
	"authentication = { password = \"S\" }",
	"authentication = \"\"\"\nS\"\"\"\nauthentication = 1",
	"authentication = 1977S",
	"authentication = 19770525",
	"authentication = \"S\"\nauthentication = \"S\"",
	"authentication = \"S\\u0007\"",
	"authentication_file = \"S\"",
	"authentication_file = S",
	"authentication_file = [\"S\"]",
	"[interface.gre1.ipsec]\npsk = \"S\"",
	"[interface.gre1.ipsec]\npsk = S",
	"[interface.gre1.ipsec]\npsk_file = \"S\"",
	"[interface.gre1.ipsec]\npsk_file = 'S",
	"[interface.gre1.ipsec]\npsk_file = S",
	"[interface.gre1.ipsec]\npsk_file = 19770525",
	"[interface.gre1.ipsec]\npsk_file = { secret = \"S\" }",
	"[interface.gre1.ipsec]\nsecret = S",
	"[interface.gre1.ipsec]\nconnection = { secret = S }",
	"[interface.gre1.ipsec]\npsk_file = \"\"\"\nS\nauthentication_file = S",
}

// No message about a misplaced secret shows the secret.
func TestFaultsDoNotShowSecrets(t *testing.T) {
	const secret = "hunter2hunter2"
	for _, text := range misplaced {
		t.Run(text, func(t *testing.T) {
			file := "[interface.gre1]\naddress = \"10.255.0.11/24\"\nunderlay = \"eth0\"\n" +
				strings.ReplaceAll(text, "S", secret) + "\n"
			_, err := Parse([]byte(file), "F")
			if err == nil {
				t.Fatal("accepted")
			}
			said, jsonErr := json.Marshal(err)
			if jsonErr != nil {
				t.Fatal(jsonErr)
			}
			for _, piece := range []string{secret[:6], "19770525"} {
				if shown := fmt.Sprintf("%v %s", err, said); strings.Contains(shown, piece) {
					t.Errorf("%q is in: %s", piece, shown)
				}
			}
		})
	}
}
