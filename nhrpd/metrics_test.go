package nhrpd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
)

// The metrics come to their place once it is free; until then the status says that they do not.
func TestMetricsPlaceComesLater(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w, free := newWorld(t), new(atomic.Bool)
		p := w.platform()
		opened := make(chan net.Listener, 1)
		p.ListenAPI = func(path, group string) (net.Listener, error) {
			switch {
			case path != "/run/cygnet/metrics.sock":
				return nil, errors.New("another path")
			case group != "":
				return nil, fmt.Errorf("api_group: %w", api.ErrNoGroup)
			case !free.Load():
				return nil, api.ErrInUse
			}
			l := newPipeListener()
			opened <- l
			return l, nil
		}
		c := testConfig(t, []byte(spokeToml), dir)
		c.Daemon.Metrics, c.Daemon.APIGroup = "/run/cygnet/metrics.sock", "operators"
		d := New(filepath.Join(dir, "cygnet.toml"), c, p, new(bytes.Buffer))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.metrics(c.Daemon)(ctx) }()
		synctest.Wait()
		all := d.problems.All()
		if len(all) != 1 || all[0].Code != api.ProblemMetrics ||
			all[0].Subject != c.Daemon.Metrics {
			t.Errorf("got %v", all)
		}
		free.Store(true)
		<-opened
		synctest.Wait()
		if all := d.problems.All(); len(all) != 0 {
			t.Errorf("got %v", all)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Prometheus reads the metrics at an address, with how long shortcuts took.
func TestMetricsAtAnAddress(t *testing.T) {
	c := testConfig(t, []byte(spokeToml), t.TempDir())
	c.Daemon.Metrics = "127.0.0.1:0"
	read, write := io.Pipe()
	d := New("cygnet.toml", c, newWorld(t).platform(), write)
	d.loop.took.add(&engine.Notice{
		Kind: engine.NoticeShortcutUp, Resolved: 2 * time.Millisecond, Took: 5 * time.Millisecond,
	})
	go d.loop.run(t.Context())
	go d.metrics(c.Daemon)(t.Context())
	var at string
	for log := bufio.NewScanner(read); at == "" && log.Scan(); {
		if strings.Contains(log.Text(), "the metrics are served") {
			_, at, _ = strings.Cut(log.Text(), " at=")
		}
	}
	go io.Copy(io.Discard, read)
	response, err := http.Get("http://" + at + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`cygnet_shortcut_up_seconds_bucket{le="0.003"} 0`,
		`cygnet_shortcut_up_seconds_bucket{le="0.01"} 1`,
		`cygnet_shortcut_resolved_seconds_bucket{le="0.003"} 1`,
		`cygnet_shortcut_secured_seconds_count 0`,
	} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
