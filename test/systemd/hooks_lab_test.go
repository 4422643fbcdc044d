//go:build lab

package systemd

import (
	"os"
	"path/filepath"
	"strings"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// itself is a hook that writes down what its process may do, and tries to write outside of the
// folder that is meant for that.
const itself = `#!/bin/sh
[ "$1" = hub-lost ] || exit 0
cd /var/lib/cygnet-hooks
cat /proc/self/status >itself.new
touch /etc/hooked /var/lib/cygnet/hooked 2>>itself.new
mv itself.new itself
`

// hooks enables the unit of the hooks with the example of the document and a program that looks at
// itself. It returns once the unit reads the daemon's events.
func hooks(r *router) {
	r.Mesh.Helper()
	project, err := lab.Root()
	if err != nil {
		r.Mesh.Fatalf("%v", err)
	}
	example := lab.Snippet(r.Mesh, filepath.Join(project, "doc/events.md"), "#!/bin/sh")
	r.WriteFile("/etc/cygnet/hooks.d/hubs", 0o755, example)
	r.WriteFile("/etc/cygnet/hooks.d/itself", 0o755, itself)
	follow := func(want int) func() error {
		return func() error {
			var st api.Status
			if err := r.CygnetJSON(&st, "status"); err != nil {
				return err
			}
			return lab.True(st.Events.Readers == want, "%d do", st.Events.Readers)
		}
	}
	r.Await("nobody follows the events", soon, follow(0))
	r.Run("systemctl", "enable", "--quiet", "--now", "cygnet-hooks.service")
	r.Await("the hooks follow the events", soon, follow(1))
}

// hooked waits until the hooks have run for a hub that was lost and came back. They run as root
// without any capability, get none from a program that is setuid or setgid, and can write nowhere
// but below their folder.
func hooked(r *router) {
	r.Mesh.Helper()
	wrote := func(file string, wants ...string) {
		r.Mesh.Helper()
		r.Await("a hook has written "+file, soon, func() error {
			text, err := os.ReadFile("/var/lib/cygnet-hooks/" + file)
			if err != nil {
				return err
			}
			for _, want := range wants {
				if !strings.Contains(string(text), want) {
					return lab.True(false, "it lacks %q:\n%s", want, text)
				}
			}
			return nil
		})
	}
	wrote("hubs", `{"hook":"hub-lost",`, `{"hook":"hub-back",`, `"identity":"hub.example.net"`)
	const none = ":\t0000000000000000\n"
	wrote("itself", "\nUid:\t0\t0\t0\t0\n", "\nCapEff"+none, "\nCapPrm"+none, "\nCapBnd"+none,
		"\nNoNewPrivs:\t1\n", "'/etc/hooked': Read-only file system",
		"'/var/lib/cygnet/hooked': Read-only file system")
}
