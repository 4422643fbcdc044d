//go:build lab

package systemd

import (
	"fmt"
	"strings"

	"cygnet/test/lab"
)

// page enables the unit of the page, which shows the daemon to this machine. Its process has a user
// of its own, no capability, and the group that may look.
func page(r *router) {
	r.Mesh.Helper()
	if state := r.show("cygnet-web.service", "ActiveState"); state != "inactive" {
		r.Mesh.Errorf("before it is enabled the page's unit is %s", state)
	}
	r.Run("systemctl", "enable", "--quiet", "--now", "cygnet-web.service")
	r.shows("/", "<svg id=\"mesh\"")
	r.shows("/api/v1/status", `"interfaces":[{"name":"gre1"`)
	r.shows("/api/v1/sas", `"state":"ESTABLISHED"`)
	pid := r.show("cygnet-web.service", "MainPID")
	process := r.Run("cat", "/proc/"+pid+"/status")
	group := strings.Split(r.Run("getent", "group", "cygnet-view"), ":")[2]
	for _, want := range []string{"CapEff:\t0000000000000000\n", "NoNewPrivs:\t1\n"} {
		if !strings.Contains(process, want) {
			r.Mesh.Errorf("the page's process lacks %q:\n%s", want, process)
		}
	}
	for field, want := range map[string]bool{"Uid": false, "Gid": false, "Groups": true} {
		_, line, _ := strings.Cut(process, "\n"+field+":")
		line, _, _ = strings.Cut(line, "\n")
		switch words := strings.Fields(line); {
		case want && !strings.Contains(line, group):
			r.Mesh.Errorf("the page's process has the groups %s, want %s", line, group)
		case !want && (len(words) == 0 || words[0] == "0"):
			r.Mesh.Errorf("the page's process has the %s %q, want one of its own", field, words)
		}
	}
}

// shows waits until the page has a text.
func (r *router) shows(path, want string) {
	r.Mesh.Helper()
	const ask = `exec 3<>/dev/tcp/127.0.0.1/8116
printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1:8116\r\n\r\n' "$0" >&3
cat <&3`
	r.Await(fmt.Sprintf("the page has %s at %s", want, path), soon, func() error {
		out, err := r.Try("bash", "-c", ask, path)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return lab.True(strings.Contains(out, want), "it is %.500s", out)
	})
}
