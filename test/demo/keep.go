package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"cygnet/test/lab"
)

// suggestions lists commands that a visitor may want to begin with: node and command.
var suggestions = [][2]string{
	{"spoke1", "cygnet peers"},
	{"host1", "ping -c 5 172.16.2.10"},
	{"spoke1", "cygnet shortcuts"},
	{"spoke1", "ip route"},
	{"hub", "ip neigh show dev gre1"},
	{"spoke2", "swanctl --list-sas"},
	{"inet", "tcpdump -n -i br0 -c 20"},
}

// leaveRunning keeps the mesh running for the visitor: in a shell if there is a terminal, otherwise
// until a signal.
func leaveRunning(m *lab.Mesh) {
	root, err := lab.Root()
	if err != nil {
		m.Fatalf("%v", err)
	}
	fmt.Println("\nThe mesh is left running. To look around:")
	guest := os.Getenv("LAB") != "host"
	if guest {
		fmt.Println("\nFrom another terminal, in the project's directory (without a command: the list of nodes)")
		for _, l := range suggestions {
			fmt.Printf("    test/uml/enter -n %s %s\n", l[0], l[1])
		}
	}
	if !terminal(guest) {
		fmt.Println("\nIt ends with this command (Ctrl-C).")
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
		<-ended
		return
	}
	fmt.Println("\nIn this shell, until 'exit':")
	for _, l := range suggestions {
		fmt.Printf("    on %s %s\n", l[0], l[1])
	}
	fmt.Println()
	if err := shell(m, filepath.Join(root, "bin")); err != nil {
		fmt.Println("the shell ended:", err)
	}
}

// terminal reports whether a visitor sits at the standard input. In a guest the standard input is
// always a console, so test/uml/run tells.
func terminal(guest bool) bool {
	if guest {
		return os.Getenv("UML_KEEP") == "terminal"
	}
	_, err := unix.IoctlGetTermios(0, unix.TCGETS)
	return err == nil
}

// shell runs a shell with the additional command "on".
func shell(m *lab.Mesh, bin string) error {
	dir, err := os.MkdirTemp("", "cygnet-demo")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "on"), []byte(m.EnterScript()), 0o755); err != nil {
		return err
	}
	cmd := exec.Command("bash", "--norc", "-i")
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+bin+":"+os.Getenv("PATH"), `PS1=cygnet lab \$ `)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
