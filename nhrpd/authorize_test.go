package nhrpd

import (
	"strings"
	"testing"

	"cygnet/nhrpd/config"
)

// A reload that only changes who is asked about registrations leaves the tunnel and the socket
// alone.
func TestReloadOfTheAuthorizerKeepsTheRunner(t *testing.T) {
	const key = "key      = 42\n"
	with := func(lines string) config.Interface {
		return testConfig(t, []byte(strings.Replace(hubToml, key, key+lines, 1)), "").Interfaces[0]
	}
	before := with("")
	for _, lines := range []string{
		"authorize = \"/run/a\"\n",
		"authorize = \"/run/b\"\nauthorize_timeout = \"1s\"\nauthorize_default = \"allow\"\n",
	} {
		after := with(lines)
		if after.Authorize == before.Authorize || !canGoOn(before, after) {
			t.Errorf("with %q: %+v, the runner goes on: %v", lines, after.Authorize,
				canGoOn(before, after))
		}
	}
}
