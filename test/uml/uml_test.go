// Package uml tests the user-mode Linux that the lab runs in: a guest starts on this processor, its
// programs keep their registers, and a guest that cannot start says why.
package uml

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// needGuest skips a test if no guest can be started on this machine.
func needGuest(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("this machine lacks root: a guest's files are the host's")
	}
	if _, err := exec.LookPath("linux.uml"); err != nil {
		t.Skip("this machine lacks linux.uml: 'make deps' installs it")
	}
}

// guest runs a command through the script and returns its output and exit code.
func guest(t *testing.T, env []string, command ...string) (string, int) {
	t.Helper()
	cmd := exec.Command("./run", command...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("start test/uml/run: %v", err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

// A guest's processes keep their vector registers although they share its processor: the part of
// the host's register area that the preloaded ptrace of xstate.c leaves out does not belong to
// them.
func TestRegistersSurviveAContextSwitch(t *testing.T) {
	needGuest(t)
	program := filepath.Join(t.TempDir(), "registers")
	build := exec.Command("gcc", "-O1", "-Wall", "-Werror", "-o", program, "testdata/registers.c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build registers.c: %v\n%s", err, out)
	}
	out, code := guest(t, nil, program)
	if code != 0 || !strings.Contains(out, "registers kept their values") {
		t.Fatalf("want the registers kept, have exit code %d:\n%s", code, out)
	}
}

// The script returns the output and the exit code of the command in the guest.
func TestExitCodeAndOutputOfTheCommand(t *testing.T) {
	needGuest(t)
	out, code := guest(t, []string{"WORD=from outside"}, "sh", "-c", `echo "$WORD"; exit 7`)
	if out != "from outside\n" || code != 7 {
		t.Fatalf("want the variable's value and exit code 7, have code %d and %q", code, out)
	}
}

// The last line names the actual reason why a guest cannot start.
func TestGuestThatCannotStartSaysWhy(t *testing.T) {
	needGuest(t)
	shm := "mount -t tmpfs -o OPTIONS none /dev/shm && exec ./run COMMAND"
	for _, test := range []struct {
		name, script string
		want         string
	}{
		{"too little memory", "UML_MEM=8M exec ./run true", "UML_MEM=8M is less than the kernel needs"},
		{"no time", "UML_TIME=1 exec ./run sleep 60", "took longer than UML_TIME=1 seconds"},
		{"noexec", replace(shm, "OPTIONS", "noexec", "COMMAND", "true"),
			"/dev/shm, where the guest's memory lies, is mounted noexec"},
		{"no room", replace(shm, "OPTIONS", "size=40M", "COMMAND", "true"), "lies in /dev/shm, where only 40M were free"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := exec.Command("unshare", "--mount", "sh", "-c", test.script).CombinedOutput()
			if err == nil || !strings.Contains(lastLine(string(out)), test.want) {
				t.Fatalf("want a last line with %q, have (%v)\n%s", test.want, err, out)
			}
		})
	}
}

func replace(text string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(text)
}

// Messages of a guest's kernel that occur on other machines but not on this one. A program in the
// place of linux.uml prints them.
func TestMessagesOfTheKernelAreExplained(t *testing.T) {
	needGuest(t)
	for _, test := range []struct {
		name, message string
		want          string
	}{
		{"registers", "userspace - ptrace set fp regs failed, errno = 14\nKernel panic - not syncing: Kernel mode fault",
			"cannot take this processor's register area"},
		{"no ptrace", "check_ptrace : ptrace failed, errno = 1", "does not let a process trace another one"},
		{"memory", "Out of memory: Killed process 77 (scenario.test)",
			"ran out of memory: set UML_MEM to more than 1024M"},
		{"library", "linux.uml: error while loading shared libraries: libdl.so.2: cannot open shared object",
			"lacks a library: linux.uml: error"},
		{"another panic", "Kernel panic - not syncing: No working init found.", "panicked: No working init found."},
		{"anything else", "something new", "ended with exit code 3: something new"},
		{"nothing", "", "ended with exit code 3 and no message"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			script := "#!/bin/sh\nprintf '%s' \"$MESSAGE\" >&2\nexit 3\n"
			if err := os.WriteFile(
				filepath.Join(dir, "linux.uml"), []byte(script), 0o755,
			); err != nil {
				t.Fatal(err)
			}
			env := []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "MESSAGE=" + test.message}
			out, code := guest(t, env, "true")
			if code != 70 || !strings.Contains(lastLine(out), test.want) {
				t.Fatalf("want exit code 70 and a last line with %q, have %d and\n%s",
					test.want, code, out)
			}
		})
	}
}
