package stopped

import (
	"bytes"
	"errors"
	"net"
	"path/filepath"
	"testing"

	"cygnet/nhrpd/config"
)

// Leave does nothing while a daemon runs.
func TestLeaveIsRefusedWhileTheDaemonRuns(t *testing.T) {
	c := &config.Config{Interfaces: []config.Interface{{Name: "gre1", Protected: true}}}
	c.Daemon.APISocket = filepath.Join(t.TempDir(), "api")
	daemon, err := net.Listen("unix", c.Daemon.APISocket)
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	var out bytes.Buffer
	if err := Leave(t.Context(), c, &out); !errors.Is(err, ErrRunning) || out.Len() > 0 {
		t.Errorf("%v, %q; want %v and nothing done", err, &out, ErrRunning)
	}
}
