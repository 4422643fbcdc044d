package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
)

// Bounds on a report.
const (
	mostOfAPart = 8 << 20          // bytes; the rest is cut off
	partTime    = 15 * time.Second // for a program
)

// part is a file of a report.
type part struct {
	Name  string `json:"name"`
	What  string `json:"what"`
	Bytes int    `json:"bytes"`
	// Error is why the file is not there, or not whole.
	Error string `json:"error,omitempty"`
}

// source is where a part comes from.
type source struct {
	part
	read func(context.Context) ([]byte, error)
	data []byte // what read returned; nil: the part is left out
}

// reported is what report shows with --json.
type reported struct {
	File  string `json:"file"`
	Parts []part `json:"parts"`
}

// program runs a program and returns what it printed.
type program func(ctx context.Context, name string, args ...string) ([]byte, error)

// execute is program on this host. It keeps mostOfAPart bytes and one more.
func execute(ctx context.Context, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout = &atMost{&out, mostOfAPart + 1}
	cmd.Stderr = cmd.Stdout
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("it did not end within %s", partTime)
	}
	return out.Bytes(), err
}

// atMost passes on what fits, and takes all.
type atMost struct {
	w    *bytes.Buffer
	left int
}

func (a *atMost) Write(p []byte) (int, error) {
	n := min(len(p), a.left)
	a.w.Write(p[:n])
	a.left -= n
	return len(p), nil
}

// writeReport collects what helps to find a fault, and writes it to a file.
func writeReport(in *invocation, _ string) error {
	name := in.file
	if name == "" {
		name = "cygnet-report-" + in.now().UTC().Format("20060102T150405Z") + ".tar.gz"
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	secrets, known := in.secrets()
	parts := in.parts()
	for i := range parts {
		fmt.Fprintln(in.stderr, "collecting "+parts[i].What)
		parts[i].collect(in.ctx, secrets)
	}
	err = errors.Join(in.writeTar(file, parts), file.Close())
	if err != nil {
		return errors.Join(fmt.Errorf("write the report %s: %w", name, err), os.Remove(name))
	}
	if in.json {
		shown := reported{File: name}
		for i := range parts {
			shown.Parts = append(shown.Parts, parts[i].part)
		}
		return in.printJSON(shown)
	}
	in.printf("%s has:\n%s", clean(name), contents(parts))
	if known {
		in.printf("It has no pre-shared keys and no NHRP passwords. ")
	} else {
		in.printf("The configuration could not be read, so nothing was left out for its secrets. ")
	}
	in.printf("It names routers, addresses and networks.\n")
	if slices.ContainsFunc(parts, source.denied) {
		in.printf("This user may not read all of that: run it as root for the rest.\n")
	}
	return nil
}

// denied reports whether a part is not there or not whole because this user may not read it.
func (p source) denied() bool {
	reason := strings.ToLower(p.Error)
	return strings.Contains(reason, "permission denied") ||
		strings.Contains(reason, "not permitted")
}

// secrets returns the secrets of the configuration in the forms in which programs print them. known
// is false if the configuration could not be read.
func (in *invocation) secrets() (forms [][]byte, known bool) {
	c, _ := config.LoadFaulty(in.config)
	if c == nil {
		return nil, false
	}
	for _, s := range c.Secrets() {
		if len(s) == 0 {
			continue
		}
		hexed := hex.EncodeToString(s)
		coded := base64.RawStdEncoding.EncodeToString(s)
		forms = append(forms, s, []byte(hexed), []byte(strings.ToUpper(hexed)), []byte(coded))
	}
	return forms, true
}

// collect reads a part. A part that has a secret in it is left out.
func (p *source) collect(ctx context.Context, secrets [][]byte) {
	data, err := p.read(ctx)
	if err != nil {
		p.Error = err.Error()
	}
	for _, s := range secrets {
		if bytes.Contains(data, s) || strings.Contains(p.Error, string(s)) {
			p.Error = "left out: it has a secret of the configuration in it"
			return
		}
	}
	if len(data) > mostOfAPart {
		data = data[:mostOfAPart]
		p.Error = fmt.Sprintf("cut off after %d bytes", mostOfAPart)
	}
	p.data, p.Bytes = data, len(data)
}

// writeTar writes the parts to w, with a list of them in front.
func (in *invocation) writeTar(w io.Writer, parts []source) error {
	packed := gzip.NewWriter(w)
	archive := tar.NewWriter(packed)
	now := in.now()
	add := func(name string, data []byte) error {
		err := archive.WriteHeader(&tar.Header{
			Name: path.Join("cygnet-report", name), Mode: 0o600, Size: int64(len(data)),
			ModTime: now,
		})
		if err != nil {
			return err
		}
		_, err = archive.Write(data)
		return err
	}
	list := fmt.Sprintf("A report of cygnet %s, made at %s.\n\n%s", api.Version,
		now.UTC().Format(time.RFC3339), contents(parts))
	if err := add("CONTENTS", []byte(list)); err != nil {
		return err
	}
	for i := range parts {
		if parts[i].data == nil {
			continue
		}
		if err := add(parts[i].Name, parts[i].data); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), packed.Close())
}

// contents lists parts, one a line, with what is wrong with them.
func contents(parts []source) string {
	var text strings.Builder
	for i := range parts {
		p := &parts[i]
		fmt.Fprintf(&text, "  %-28s %s", p.Name, p.What)
		if p.Error != "" {
			fmt.Fprintf(&text, " (%s)", clean(strings.Join(strings.Fields(p.Error), " ")))
		}
		text.WriteByte('\n')
	}
	return text.String()
}

// journal reads the newest part of systemd's journal.
const journal = "journalctl --no-pager -n 20000 -o short-iso-precise "

// parts returns what a report consists of.
func (in *invocation) parts() []source {
	parts := []source{
		{part: part{Name: "version.txt", What: "the versions of the command and of the daemon"},
			read: in.self("version")},
		{part: part{Name: "status.txt", What: "what the daemon does, and what is wrong"},
			read: in.self("status")},
		{part: part{Name: "status.json", What: "the same with everything that the daemon knows"},
			read: in.self("--json", "status")},
		{part: part{Name: "sas.json", What: "the IKE and ESP SAs"},
			read: in.self("--json", "sas")},
		{part: part{Name: "events.txt", What: "what happened in the last day"},
			read: in.self("events", "--since", "24h")},
		{part: part{Name: "metrics.txt", What: "the metrics"},
			read: in.metricsPart},
		{part: part{Name: "check.txt", What: "what cygnet check finds"},
			read: in.self("check", in.config)},
	}
	parts = append(parts, in.configParts()...)
	for _, p := range []struct{ name, what, command string }{
		{"kernel/version.txt", "the kernel", "uname -a"},
		{"kernel/system.txt", "the system", "cat /etc/os-release"},
		{"kernel/links.txt", "the devices", "ip -d -s link"},
		{"kernel/addresses.txt", "the addresses", "ip address"},
		{"kernel/rules.txt", "the rules of routing", "ip rule"},
		{"kernel/rules6.txt", "the same of IPv6", "ip -6 rule"},
		{"kernel/routes.txt", "the routes", "ip route show table all"},
		{"kernel/routes6.txt", "the same of IPv6", "ip -6 route show table all"},
		{"kernel/neighbors.txt", "the neighbours", "ip -s neigh"},
		{"kernel/policies.txt", "the IPsec policies", "ip -s xfrm policy"},
		{"kernel/states.txt", "the IPsec states without their keys",
			"ip -s xfrm state list nokeys"},
		{"kernel/xfrm.txt", "the kernel's counters of IPsec", "cat /proc/net/xfrm_stat"},
		{"kernel/qdiscs.txt", "the queueing disciplines", "tc -s qdisc"},
		{"charon/sas.txt", "charon's SAs", "swanctl --list-sas"},
		{"charon/connections.txt", "charon's connections", "swanctl --list-conns"},
		{"charon/certificates.txt", "charon's certificates", "swanctl --list-certs"},
		{"charon/stats.txt", "charon's own figures", "swanctl --stats"},
		{"log/cygnetd.txt", "the log of cygnetd", journal + "-u cygnetd -u cygnet-guard"},
		{"log/charon.txt", "the log of charon", journal + "-u strongswan -u strongswan-starter"},
	} {
		command := strings.Fields(p.command)
		parts = append(parts, source{
			part: part{Name: p.name, What: p.what},
			read: func(ctx context.Context) ([]byte, error) {
				out, err := in.evidence.program(ctx, command[0], command[1:]...)
				if last := lastLine(out); err != nil && last != "" {
					err = fmt.Errorf("%w: %s", err, last)
				}
				return out, err
			},
		})
	}
	return parts
}

// longestReason is how many bytes of a program's last line say why it failed.
const longestReason = 200

// lastLine returns the last line of what a program printed, which says why it failed.
func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	last := lines[len(lines)-1]
	return strings.ToValidUTF8(last[:min(len(last), longestReason)], "")
}

// self returns a function that runs a command of this program.
func (in *invocation) self(args ...string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		var out bytes.Buffer
		one := &invocation{ctx: ctx, now: in.now, host: in.host, evidence: in.evidence,
			stderr: io.Discard, stdout: &out}
		err := one.run(append([]string{"--socket", in.socket}, args...))
		out.Write(one.out.Bytes())
		if found := outcome(0); errors.As(err, &found) {
			return out.Bytes(), nil // what is wrong is in the output
		}
		if err != nil {
			fmt.Fprintln(&out, cleanLines(err.Error()))
		}
		return out.Bytes(), err
	}
}

// metricsPart reads the metrics.
func (in *invocation) metricsPart(context.Context) ([]byte, error) {
	client, ctx, cancel := in.ask()
	defer cancel()
	return client.Metrics(ctx)
}

// configParts returns the files of the configuration, without their secrets.
func (in *invocation) configParts() []source {
	names, err := config.Files(in.config)
	var parts []source
	for _, name := range names {
		parts = append(parts, source{
			part: part{
				Name: "configuration/" + filepath.Base(name),
				What: name + ", without secrets, comments and unknown keys",
			},
			read: func(context.Context) ([]byte, error) {
				data, err := os.ReadFile(name)
				if err != nil {
					return nil, err
				}
				return config.WithoutSecrets(data)
			}})
	}
	if err != nil {
		parts = append(parts, source{
			part: part{Name: "configuration/conf.d", What: "further files"},
			read: func(context.Context) ([]byte, error) { return nil, err }})
	}
	return parts
}
