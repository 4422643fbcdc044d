package main

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
)

// The command serves the page until it is interrupted. It takes the socket for those who only look
// where there is one.
func TestWeb(t *testing.T) {
	socket := start(t, &daemon{status: spoke()})
	l, err := api.Listen(config.ViewSocket(socket), "")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		served <- api.ServeView(ctx, l, &daemon{status: hub()}, 0, slog.New(slog.DiscardHandler))
	}()
	log, stderr := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"web", "--socket", socket, "--listen", "127.0.0.1:0"}, io.Discard,
			stderr, time.Now, machine, alone)
		stderr.Close()
	}()
	line, err := bufio.NewReader(log).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, log)
	at := regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(line)
	if at == nil || !strings.Contains(line, "view.sock") {
		t.Fatalf("the log says %q, want the address, and view.sock", line)
	}
	response, err := http.Get(at[1] + "api/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(text), `"pid":99`) {
		t.Errorf("the status is %.200s, %v, want that of view.sock", text, err)
	}
	cancel()
	if got := <-code; got != exitOK {
		t.Errorf("the exit code is %d, want %d", got, exitOK)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// A page that others can reach needs a token, and a token that others cannot read.
func TestWebRefuses(t *testing.T) {
	open := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(open, []byte(strings.Repeat("t", 40)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"web --listen 0.0.0.0:0", exitUsage, "--token-file"},
		{"web --listen nowhere", exitUsage, "ADDRESS:PORT"},
		{"web 127.0.0.1:0", exitUsage, "no argument"},
		{"web --token-file " + open, exitError, "not secret"},
		{"web --token-file /nonexistent/token", exitError, "no such file"},
		{"status --listen 127.0.0.1:0", exitUsage, "takes no --listen"},
	} {
		code, _, stderr := cygnet(strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: exit code %d and %q, want %d and %q", c.args, code, stderr, c.code,
				c.says)
		}
	}
}
