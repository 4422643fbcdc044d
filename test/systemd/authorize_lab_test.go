//go:build lab

package systemd

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// authorizes sets up the example of an authorizer as its document says. systemd starts it once the
// daemon connects, as a user of its own without capabilities, and it answers as its list says.
func authorizes(r *router) {
	r.Mesh.Helper()
	project, err := lab.Root()
	if err != nil {
		r.Mesh.Fatalf("%v", err)
	}
	example := func(name string) string { return filepath.Join(project, "contrib/authorize", name) }
	const unit = "cygnet-authorize"
	r.Run("install", "-m", "755", example(unit), "/usr/local/sbin/")
	r.Run("install", "-m", "644", example(unit+".socket"), example(unit+".service"),
		"/etc/systemd/system/")
	r.Run("install", "-m", "644", example("routers.txt"), "/etc/cygnet/routers")
	r.Run("systemctl", "daemon-reload")
	r.Run("systemctl", "enable", "--quiet", "--now", unit+".socket")
	if state := r.show(unit+".service", "ActiveState"); state != "inactive" {
		r.Mesh.Errorf("before anybody asks the authorizer is %s", state)
	}
	r.Interface = append(r.Interface, "server = true", `authorize = "/run/cygnet-authorize.sock"`)
	r.configure()
	r.Run("systemctl", "reload", "cygnetd.service")
	r.Await("the daemon is connected to the authorizer", soon, func() error {
		var st api.Status
		if err := r.CygnetJSON(&st, "status"); err != nil {
			return err
		}
		a := st.Interfaces[0].Authorizer
		return lab.True(a != nil && a.Connected, "it has %+v", a)
	})
	for identity, want := range map[string]string{
		"spoke1.example.net": `"allow":true`, "spoke3.example.net": "the contract has ended",
	} {
		if answer := asked(r, identity); !strings.Contains(answer, want) {
			r.Mesh.Errorf("about %s the authorizer says %s, want %s", identity, answer, want)
		}
	}
	process := r.Run("cat", "/proc/"+r.show(unit+".service", "MainPID")+"/status")
	for _, want := range []string{"CapEff:\t0000000000000000\n", "NoNewPrivs:\t1\n"} {
		if !strings.Contains(process, want) {
			r.Mesh.Errorf("the authorizer's process lacks %q:\n%s", want, process)
		}
	}
	if strings.Contains(process, "\nUid:\t0\t") {
		r.Mesh.Errorf("the authorizer runs as root:\n%s", process)
	}
}

// asked asks the authorizer about a router, as the daemon of a hub does, and returns its answer
// without the spaces behind colons.
func asked(r *router, identity string) string {
	r.Mesh.Helper()
	conn, err := net.DialTimeout("unix", "/run/cygnet-authorize.sock", soon)
	if err != nil {
		r.Mesh.Fatalf("ask the authorizer: %v", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(soon))
	fmt.Fprintf(conn, `{"v":1,"id":1,"kind":"registration","interface":"gre1","identity":%q,`+
		`"address":"10.255.0.11","nbma":"192.0.2.11"}`+"\n", identity)
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		r.Mesh.Fatalf("the authorizer's answer about %s: %v", identity, err)
	}
	return strings.ReplaceAll(answer, ": ", ":")
}
