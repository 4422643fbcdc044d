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
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/platform"
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

// One group may use a unix socket with the metrics besides the owner: api_view_group, or api_group
// if there is no api_view_group.
func TestMetricsSocketRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a socket to a group that it is not in")
	}
	const act, look = 4711, 4712
	for rule, c := range map[string]struct {
		act, look string
		want      int
	}{
		"both groups":                   {strconv.Itoa(act), strconv.Itoa(look), look},
		"api_group alone":               {strconv.Itoa(act), "", act},
		"api_view_group does not exist": {strconv.Itoa(act), "no-such-group", os.Getgid()},
		"no group":                      {"", "", os.Getgid()},
	} {
		t.Run(rule, func(t *testing.T) {
			daemon := testConfig(t, []byte(spokeToml), t.TempDir()).Daemon
			daemon.Metrics = filepath.Join(t.TempDir(), "metrics.sock")
			daemon.APIGroup, daemon.APIViewGroup = c.act, c.look
			d := &Daemon{platform: platform.Platform{ListenAPI: api.Listen}}
			l, err := d.listenMetrics(t.Context(), daemon)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			info, err := os.Lstat(daemon.Metrics)
			if err != nil {
				t.Fatal(err)
			}
			gid := int(info.Sys().(*syscall.Stat_t).Gid)
			if want := os.ModeSocket | 0o660; info.Mode() != want || gid != c.want {
				t.Errorf("the socket has mode %v and group %d, want %v and %d",
					info.Mode(), gid, want, c.want)
			}
		})
	}
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
