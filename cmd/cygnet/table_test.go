package main

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"cygnet/nhrpd/api"
)

var update = flag.Bool("update", false, "write the golden files from what the program prints")

// The output equals the golden files.
func TestTables(t *testing.T) {
	sockets := map[string]string{
		"spoke": start(t, &daemon{status: spoke()}),
		"hub":   start(t, &daemon{status: hub()}),
		"empty": start(t, &daemon{
			status: &api.Status{
				Version: "1.2.3", PID: 1, Started: ago(time.Second),
				StrongSwan: api.StrongSwan{Socket: "/s"},
			},
		}),
	}
	for node, socket := range sockets {
		for _, command := range []string{
			"status", "peers", "bindings", "shortcuts", "nhs", "routes", "sas",
		} {
			t.Run(node+"/"+command, func(t *testing.T) {
				code, out, errs := cygnet("--socket", socket, command)
				want := exitOK
				if node == "hub" && command == "status" {
					want = exitWrong
				}
				if code != want || errs != "" {
					t.Fatalf("code %d: %s", code, errs)
				}
				golden(t, "testdata/"+node+"-"+command+".txt", out)
				if command == "status" {
					return
				}
				for line := range strings.Lines(out) {
					if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > narrowWidth {
						t.Errorf("a line of %d columns: %s", n, line)
					}
				}
				_, out, _ = cygnet("--socket", socket, command, "--wide")
				golden(t, "testdata/"+node+"-"+command+"-wide.txt", out)
			})
		}
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// A peer's identity can neither control the terminal nor break a table.
func TestTablesAreClean(t *testing.T) {
	socket := start(t, &daemon{status: hub()})
	for _, command := range []string{"status", "bindings"} {
		_, out, _ := cygnet("--socket", socket, command)
		if strings.ContainsAny(out, "\x1b\t") {
			t.Errorf("%s: %q", command, out)
		}
	}
}
