package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"time"
)

// FRR is FRR's zebra and further daemons on a router: nhrpd, which is another implementation of
// NHRP, or routing protocols.
type FRR struct {
	router  *Router
	name    string // of the daemon that commands go to; empty: to all
	boot    func() // see Boot
	running []*Process
}

// FRR starts zebra and another daemon of FRR, such as "nhrpd" or "bgpd", and waits until both
// answer. The configuration is that of the other daemon.
func (r *Router) FRR(daemon, config string) *FRR {
	r.net.Helper()
	f := &FRR{router: r, name: daemon}
	r.WriteFile("/etc/frr/"+daemon+".conf", 0o644, config)
	r.WriteFile("/etc/frr/vtysh.conf", 0o644, "")
	if err := f.ownDirectories(); err != nil {
		r.net.Fatalf("FRR on %s: %v", r.Name, err)
	}
	f.boot = func() {
		r.net.Helper()
		f.daemon("zebra", "-f", "/dev/null")
		r.net.Await("zebra on "+r.Name+" answers", 20*time.Second, func() error {
			_, err := r.Try("vtysh", "-c", "show version")
			return err
		})
		f.daemon(daemon, "-f", "/etc/frr/"+daemon+".conf")
		r.net.Await(daemon+" on "+r.Name+" answers", 20*time.Second, func() error {
			_, err := f.show("show running-config")
			return err
		})
	}
	f.Boot()
	return f
}

// IntegratedFRR starts zebra and further daemons of FRR, and has vtysh load one configuration into
// all of them, as at boot with FRR's integrated configuration.
func (r *Router) IntegratedFRR(config string, daemons ...string) *FRR {
	r.net.Helper()
	f := &FRR{router: r}
	r.WriteFile("/etc/frr/frr.conf", 0o644, config)
	r.WriteFile("/etc/frr/vtysh.conf", 0o644, "service integrated-vtysh-config\n")
	if err := f.ownDirectories(); err != nil {
		r.net.Fatalf("FRR on %s: %v", r.Name, err)
	}
	f.boot = func() {
		r.net.Helper()
		for _, name := range append([]string{"zebra"}, daemons...) {
			f.daemon(name, "-f", "/dev/null")
			r.net.Await(name+" on "+r.Name+" answers", 20*time.Second, func() error {
				_, err := r.Try("vtysh", "-d", name, "-c", "show version")
				return err
			})
		}
		r.Run("vtysh", "-b")
	}
	f.Boot()
	return f
}

// daemon starts one of FRR's daemons with a log file among the node's logs.
func (f *FRR) daemon(name string, args ...string) {
	f.router.net.Helper()
	args = append([]string{
		"--log", "file:" + f.router.dir + "/log/" + name + ".log",
		"--log-level", "debug",
	}, args...)
	f.running = append(f.running,
		f.router.Start(name+"-output", nil, "/usr/lib/frr/"+name, args...))
}

// Stop ends FRR's daemons on the router, zebra last, as a stop of the service does. Their routes
// go.
func (f *FRR) Stop() {
	f.router.net.Helper()
	for _, p := range slices.Backward(f.running) {
		if p.Alive() {
			p.Terminate()
		}
	}
}

// Boot starts FRR's daemons as at boot, and waits until they answer.
func (f *FRR) Boot() {
	f.router.net.Helper()
	f.boot()
}

// Kill ends FRR's daemons on the router as a power cut would. Boot starts them again.
func (f *FRR) Kill() {
	f.router.net.Helper()
	for _, p := range f.running {
		if p.Alive() {
			p.Kill()
		}
	}
	f.running = nil
}

// ownDirectories makes FRR's user the owner of the directories that FRR's daemons write to.
func (f *FRR) ownDirectories() error {
	frr, err := user.Lookup("frr")
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(frr.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(frr.Gid)
	if err != nil {
		return err
	}
	run := f.router.Path("/run/frr")
	return errors.Join(
		os.MkdirAll(run, 0o755),
		os.Chown(run, uid, gid),
		os.Chown(f.router.Path("/etc/frr"), uid, gid),
		os.Chmod(f.router.dir+"/log", 0o777),
	)
}

// Restart ends one of FRR's daemons on the router as a crash would, starts it again with further
// arguments, and waits until it answers.
func (f *FRR) Restart(daemon string, args ...string) {
	r := f.router
	r.net.Helper()
	r.Run("sh", "-c", "kill -9 $(cat /run/frr/"+daemon+".pid)")
	r.net.Await(daemon+" on "+r.Name+" is gone", 20*time.Second, func() error {
		_, err := r.Try("vtysh", "-d", daemon, "-c", "show version")
		return True(err != nil, "it still answers")
	})
	config := "/etc/frr/" + daemon + ".conf"
	if daemon == "zebra" {
		config = "/dev/null"
	}
	f.daemon(daemon, append([]string{"-f", config}, args...)...)
	r.net.Await(daemon+" on "+r.Name+" answers again", 20*time.Second, func() error {
		_, err := r.Try("vtysh", "-d", daemon, "-c", "show version")
		return err
	})
}

// Show runs a show command of vtysh with "json" added, and decodes the output into v. It returns an
// error if the command fails.
func (f *FRR) Show(v any, what string) error {
	out, err := f.show(what + " json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return fmt.Errorf("%s on %s: %w\n%s", what, f.router.Name, err, out)
	}
	return nil
}

// show runs a command of vtysh in the daemon and returns the output.
func (f *FRR) show(what string) (string, error) {
	args := []string{"-c", what}
	if f.name != "" {
		args = append(args, "-d", f.name)
	}
	out, err := f.router.Try("vtysh", args...)
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return out, nil
}
