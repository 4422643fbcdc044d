package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// programs is the folder with this source tree's programs, built once for all tests.
var programs string

func TestMain(m *testing.M) { os.Exit(withPrograms(m)) }

func withPrograms(m *testing.M) int {
	folder, err := os.MkdirTemp("", "cygnet-programs-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", folder, "./cmd/cygnetd", "./cmd/cygnet")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	programs = folder
	return m.Run()
}

// testBuild returns a build of small stand-ins for the programs, which compress at once.
func testBuild(t *testing.T) build {
	t.Helper()
	bin := t.TempDir()
	for _, name := range []string{"cygnetd", "cygnet"} {
		script := "#!/bin/sh\necho " + name + "\n"
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return build{
		root: "..", bin: bin, version: "1.2.3", arch: "amd64",
		mtime: time.Unix(1700000000, 0).UTC(),
	}
}

// make builds both packages and returns their paths.
func (b *build) make(t *testing.T) (deb, rpm string) {
	t.Helper()
	paths, err := b.packages(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) != 2 {
		t.Fatalf("packages: %q", paths)
	}
	return paths[0], paths[1]
}

// output runs a command that must succeed and returns what it prints on both outputs.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The same version gives the same packages whoever builds it: they contain no build time, folder
// name or file time of the builder.
func TestBuildsAreReproducible(t *testing.T) {
	first := testBuild(t)
	second := testBuild(t)
	later := time.Now().Add(time.Hour)
	for _, name := range []string{"cygnetd", "cygnet"} {
		path := filepath.Join(second.bin, name)
		if err := os.Chtimes(path, later, later); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	deb1, rpm1 := first.make(t)
	deb2, rpm2 := second.make(t)
	for _, pair := range [][2]string{{deb1, deb2}, {rpm1, rpm2}} {
		if read(t, pair[0]) != read(t, pair[1]) {
			t.Errorf("%s differs from one build to the next", filepath.Base(pair[0]))
		}
	}
}

// The times in the packages are SOURCE_DATE_EPOCH.
func TestSourceDateEpoch(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1600000000")
	at, err := sourceTime("..")
	if err != nil || at.Unix() != 1600000000 {
		t.Errorf("the time is %v, %v", at, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if at, err := sourceTime(".."); err == nil {
		t.Errorf("the time of yesterday is %v", at)
	}
}

// The command makes both packages of the real programs, under the names that dpkg and rpm expect,
// with the same bytes each time.
func TestCommand(t *testing.T) {
	debVersion := func(path string) string { return output(t, "dpkg-deb", "-f", path, "Version") }
	rpmVersion := func(path string) string {
		return output(t, "rpm", "-qp", "--qf", "%{VERSION}\n", path)
	}
	out, again := t.TempDir(), t.TempDir()
	for _, folder := range []string{out, again} {
		if err := run(
			build{root: "..", bin: programs, arch: "amd64"}, "1.2.3+git20261129.abcdef0",
			folder,
		); err != nil {
			t.Fatal(err)
		}
	}
	for name, version := range map[string]func(string) string{
		"cygnet_1.2.3+git20261129.abcdef0_amd64.deb":  debVersion,
		"cygnet-1.2.3+git20261129.abcdef0.x86_64.rpm": rpmVersion,
	} {
		if got := version(filepath.Join(out, name)); got != "1.2.3+git20261129.abcdef0\n" {
			t.Errorf("%s has version %q", name, got)
		}
		if read(t, filepath.Join(out, name)) != read(t, filepath.Join(again, name)) {
			t.Errorf("%s differs from one build to the next", name)
		}
	}
}

// The error about a missing program has its name, and no incomplete package is left.
func TestMissingProgram(t *testing.T) {
	b := testBuild(t)
	if err := os.Remove(filepath.Join(b.bin, "cygnetd")); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	_, err := b.packages(out)
	if err == nil || !strings.Contains(err.Error(), "cygnetd") {
		t.Errorf("error: %v", err)
	}
	if left, _ := os.ReadDir(out); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A program of another architecture is refused, and the error has that architecture: the package
// would install, but the program would not run.
func TestProgramsOfAnotherArchitecture(t *testing.T) {
	out := t.TempDir()
	err := run(build{root: "..", bin: programs, arch: "arm64"}, "1.2.3", out)
	if err == nil || !strings.Contains(err.Error(), "cygnetd is a program for EM_X86_64") ||
		!strings.Contains(err.Error(), "GOARCH=arm64") {
		t.Errorf("want the program's architecture and the remedy, have %v", err)
	}
	if err := run(build{root: "..", bin: programs, arch: "mips"}, "1.2.3", out); err == nil {
		t.Error("want an architecture without packages refused")
	}
	if left, _ := os.ReadDir(out); len(left) > 0 {
		t.Errorf("want no package, have %v", left)
	}
}
