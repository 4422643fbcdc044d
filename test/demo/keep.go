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

// look are the commands that a visitor may like to begin with: node and command.
var look = [][2]string{
	{"spoke1", "cygnet peers"},
	{"host1", "ping -c 5 172.16.2.10"},
	{"spoke1", "cygnet shortcuts"},
	{"spoke1", "ip route"},
	{"hub", "ip neigh show dev gre1"},
	{"spoke2", "swanctl --list-sas"},
	{"inet", "tcpdump -n -i br0 -c 20"},
}

// lookAround keeps the mesh until the visitor has seen enough: in a shell where there is a terminal, else until a signal.
func lookAround(m *lab.Mesh) {
	root, err := lab.Root()
	if err != nil {
		m.Fatalf("%v", err)
	}
	fmt.Println("\nThe mesh is left running. To look around:")
	guest := os.Getenv("LAB") != "host"
	if guest {
		fmt.Println("\nFrom another terminal, in the project's directory (without a command: the list of nodes)")
		for _, l := range look {
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
	for _, l := range look {
		fmt.Printf("    on %s %s\n", l[0], l[1])
	}
	fmt.Println()
	if err := shell(m, filepath.Join(root, "bin")); err != nil {
		fmt.Println("the shell ended:", err)
	}
}

// terminal says whether a visitor sits at the standard input. In a guest that is a console in any case: test/uml/run knows.
func terminal(guest bool) bool {
	if guest {
		return os.Getenv("UML_KEEP") == "terminal"
	}
	_, err := unix.IoctlGetTermios(0, unix.TCGETS)
	return err == nil
}

// shell runs a shell that has the command "on".
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
