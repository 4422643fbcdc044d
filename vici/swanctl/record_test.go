package swanctl_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Packet and element types of VICI, with the numbers in the README.md of strongSwan's plugin.
const (
	request  = 0
	response = 1

	sectionStart = 1
	sectionEnd   = 2
	keyValue     = 3
	listStart    = 4
	listItem     = 5
	listEnd      = 6
)

// recordSwanctl has swanctl load the connections of a folder into a listener in the place of
// charon. It returns swanctl's output and the argument of each load-conn by the connection's name,
// with one line for each element.
func recordSwanctl(t *testing.T, dir string) (loaded map[string][]string, out string) {
	t.Helper()
	tmp, err := os.MkdirTemp("/dev/shm", "swanctl") // the path must be short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	socket := filepath.Join(tmp, "vici")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	loaded = map[string][]string{}
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = answer(conn, loaded)
			conn.Close()
		}
		done <- err
	}()
	cmd := exec.Command("swanctl", "--load-conns", "--uri", "unix://"+socket)
	cmd.Env = append(os.Environ(), "SWANCTL_DIR="+dir)
	text, err := cmd.CombinedOutput()
	l.Close()
	if served := <-done; served != nil && !errors.Is(served, net.ErrClosed) {
		t.Fatalf("the listener: %v\n%s", served, text)
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return loaded, string(text)
}

// answer confirms all requests of a client, and records what it loads.
func answer(conn net.Conn, loaded map[string][]string) error {
	in := bufio.NewReader(conn)
	for {
		var length uint32
		if err := binary.Read(in, binary.BigEndian, &length); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		packet := make([]byte, length)
		if _, err := io.ReadFull(in, packet); err != nil {
			return err
		}
		if packet[0] != request {
			return fmt.Errorf("packet of type %d", packet[0])
		}
		name, body := cut(packet[1:], 1)
		if name == "load-conn" {
			lines := elements(body)
			loaded[strings.TrimSuffix(lines[0], " {")] = lines
		}
		reply := []byte{0, 0, 0, 0, response, keyValue, 7}
		reply = append(reply, "success\x00\x03yes"...)
		binary.BigEndian.PutUint32(reply, uint32(len(reply)-4))
		if _, err := conn.Write(reply); err != nil {
			return err
		}
	}
}

// cut cuts off a string that has its length before it, in one or two bytes.
func cut(b []byte, size int) (string, []byte) {
	n := int(b[0])
	if size == 2 {
		n = int(binary.BigEndian.Uint16(b))
	}
	return string(b[size : size+n]), b[size+n:]
}

// elements writes a message with one line for each element.
func elements(b []byte) []string {
	var lines []string
	for len(b) > 0 {
		kind := b[0]
		b = b[1:]
		var name, value string
		switch kind {
		case sectionStart:
			name, b = cut(b, 1)
			lines = append(lines, name+" {")
		case sectionEnd:
			lines = append(lines, "}")
		case keyValue:
			name, b = cut(b, 1)
			value, b = cut(b, 2)
			lines = append(lines, fmt.Sprintf("%s = %q", name, value))
		case listStart:
			name, b = cut(b, 1)
			lines = append(lines, name+" = [")
		case listItem:
			value, b = cut(b, 2)
			lines = append(lines, fmt.Sprintf("%q", value))
		case listEnd:
			lines = append(lines, "]")
		}
	}
	return lines
}
