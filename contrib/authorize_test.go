package contrib

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/authorizer"
)

// limit is how long the test waits for what has to come soon.
const limit = time.Minute

// heard collects what the client of the daemon hands on.
type heard struct {
	connected chan struct{}
	answers   chan authorizer.Answer
	rechecks  chan string
}

func (h heard) Connected(context.Context)                       { h.connected <- struct{}{} }
func (h heard) Answered(_ context.Context, a authorizer.Answer) { h.answers <- a }
func (h heard) Recheck(_ context.Context, identity string)      { h.rechecks <- identity }

// await returns the next value of a channel.
func await[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(limit):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// The example of an authorizer runs as it is, with the example of its list: the daemon's client
// understands it. When the list changes, it asks the daemon to ask again.
func TestAuthorizerExample(t *testing.T) {
	dir := t.TempDir()
	routers, socket := filepath.Join(dir, "routers"), filepath.Join(dir, "authz.sock")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(routers, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(read(t, "authorize/routers.txt"))
	var output bytes.Buffer
	program := exec.Command("authorize/cygnet-authorize", "--routers", routers,
		"--socket", socket)
	program.Stdout, program.Stderr = &output, &output
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = program.Process.Kill()
		_ = program.Wait()
		if t.Failed() {
			t.Logf("the authorizer said:\n%s", output.String())
		}
	})
	h := heard{make(chan struct{}, 10), make(chan authorizer.Answer, 10), make(chan string, 10)}
	client := authorizer.New(slog.New(slog.DiscardHandler), h)
	client.Use(socket)
	go func() { _ = client.Run(t.Context()) }()
	await(t, h.connected)

	ask := func(id uint64, identity string) authorizer.Answer {
		t.Helper()
		client.Ask(socket, authorizer.Question{ID: id, Interface: "gre1", Identity: identity,
			Address: netip.MustParseAddr("10.255.0.11"), NBMA: netip.MustParseAddr("192.0.2.11"),
			ClientNBMA: netip.MustParseAddr("192.0.2.11")})
		a := await(t, h.answers)
		if a.ID != id {
			t.Errorf("asked %d, answered %d", id, a.ID)
		}
		return a
	}
	if a := ask(1, "Spoke1.example.net"); a.Refused || a.Bounded || a.NoShortcut {
		t.Errorf("spoke1: %+v", a)
	}
	if a := ask(2, "spoke2.example.net"); a.Refused || a.Lifetime != time.Minute ||
		!slices.Equal(a.Announce, []netip.Prefix{netip.MustParsePrefix("172.16.2.0/24")}) {
		t.Errorf("spoke2: %+v", a)
	}
	if a := ask(3, "spoke3.example.net"); !a.Refused || a.Reason != "the contract has ended" {
		t.Errorf("spoke3: %+v", a)
	}
	if a := ask(4, "stranger"); !a.Refused || a.Reason != "it is not in the list of routers" {
		t.Errorf("a stranger: %+v", a)
	}
	write("* allow announce= no-shortcut\n")
	if identity := await(t, h.rechecks); identity != "" {
		t.Errorf("recheck of %q", identity)
	}
	if a := ask(5, "stranger"); a.Refused || !a.Bounded || len(a.Announce) > 0 || !a.NoShortcut {
		t.Errorf("a stranger, by another list: %+v", a)
	}
	write("* allow with a typo\n")
	await(t, h.rechecks)
	if a := ask(6, "stranger"); !a.Refused {
		t.Errorf("by a list with a typo: %+v", a)
	}
}

// The units of the example make the socket that the reference configuration names, and systemd
// takes them.
func TestAuthorizerUnits(t *testing.T) {
	_, socket, _ := strings.Cut(read(t, "authorize/cygnet-authorize.socket"), "ListenStream=")
	socket, _, _ = strings.Cut(socket, "\n")
	if !strings.Contains(read(t, "cygnet/reference.toml"), "authorize = \""+socket+"\"") {
		t.Errorf("the unit makes %q, which the reference does not name", socket)
	}
	dir := t.TempDir()
	for _, name := range []string{"cygnet-authorize.socket", "cygnet-authorize.service"} {
		text := bytes.ReplaceAll([]byte(read(t, "authorize/"+name)),
			[]byte("/usr/local/sbin/cygnet-authorize"), []byte("/bin/true"))
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no",
		filepath.Join(dir, "cygnet-authorize.socket"),
		filepath.Join(dir, "cygnet-authorize.service")).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
