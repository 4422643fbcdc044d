package main

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// If this variable is set, the test binary acts as the daemon with the configuration that it names,
// and prints which parts of its memory may be read.
const asDaemon = "CYGNETD_TEST_CHECK"

func TestMain(m *testing.M) {
	path := os.Getenv(asDaemon)
	if path == "" {
		os.Exit(m.Run())
	}
	if code := run([]string{"-check", "-config", path}, io.Discard, os.Stderr); code != 0 {
		os.Exit(code)
	}
	dumpable, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_GET_DUMPABLE, 0, 0)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil {
		panic(err)
	}
	if dumpable == 0 && limit.Cur == 0 && limit.Max == 0 {
		os.Stdout.WriteString("kept")
		return
	}
	os.Stdout.WriteString("dumpable")
}

// Before the daemon reads a secret, it protects its memory, unless the environment permits core
// files.
func TestMemoryIsKept(t *testing.T) {
	path := t.TempDir() + "/cygnet.toml"
	if err := os.WriteFile(path, []byte("[log]\nlevel = \"info\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for variable, want := range map[string]string{
		"": "kept", coreVariable + "=0": "kept", coreVariable + "=1": "dumpable",
	} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), asDaemon+"="+path, variable)
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil || string(out) != want {
			t.Errorf("with %q: %q, %v, want %q\n%s", variable, out, err, want, &errs)
		}
	}
}
