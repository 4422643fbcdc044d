package main

import (
	"slices"
	"strings"
	"testing"
)

// complete returns what bash offers for the last word of a command line.
func complete(t *testing.T, words ...string) []string {
	t.Helper()
	const ask = `source completions/cygnet.bash
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_cygnet
printf '%s\n' "${COMPREPLY[@]}"`
	out := output(t, "bash", append([]string{"--norc", "-c", ask, "bash"}, words...)...)
	return strings.Fields(out)
}

func TestBashCompletion(t *testing.T) {
	output(t, "bash", "-n", "completions/cygnet.bash")
	if got := complete(t, "cygnet", ""); !slices.Equal(got, commands(t)) {
		t.Errorf("commands: %q", got)
	}
	for _, c := range []struct{ line, want string }{
		{"cygnet sh", "shortcuts"},
		{"cygnet --j", "--json"},
		{"cygnet status --s", "--socket"},
		{"cygnet --socket /run/x s", "status shortcuts sas snmp"},
		{"cygnet help ver", "version"},
		{"cygnet help version st", ""},
		{"cygnet status st", ""},
		{"cygnet peer bl", "block blocked"},
		{"cygnet peer block --f", "--for"},
		{"cygnet status --f", ""},
		{"cygnet --v", "--version"},
		{"cygnet peers --w", "--wide"},
		{"cygnet peers --so", "--socket --sort"},
		{"cygnet events --f", "--follow"},
		{"cygnet log d", "debug default"},
		{"cygnet peers --h", "--history"},
		{"cygnet routes --so", "--socket"},
		{"cygnet check --o", "--offline"},
		{"cygnet monitor --t", "--type"},
		{"cygnet monitor --type reg", "registration-request registration-reply"},
		{"cygnet --type purge-reply mon", "monitor"},
		{"cygnet policy t", "test"},
		{"cygnet policy test x --config main.g", "main.go"},
		{"cygnet check main.g", "main.go"},
		{"cygnet --socket main.g", "main.go"},
	} {
		if got := strings.Join(complete(t, strings.Split(c.line, " ")...), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.line, got, c.want)
		}
	}
}

// The completions of the other shells have the same commands and flags.
func TestOtherCompletionsAreComplete(t *testing.T) {
	zsh, fish := read(t, "completions/_cygnet"), read(t, "completions/cygnet.fish")
	all := commands(t)
	for _, c := range all {
		if !strings.Contains(zsh, "\n\t\t'"+c+":") {
			t.Errorf("zsh lacks %s", c)
		}
		if !strings.Contains(fish, " -a "+c+" ") {
			t.Errorf("fish lacks %s", c)
		}
	}
	if !strings.Contains(fish, "set -l commands "+strings.Join(all, " ")+"\n") {
		t.Error("fish has another list of commands")
	}
	for _, flag := range []string{"socket", "json", "version", "wide", "sort", "offline", "interface",
		"type"} {
		if !strings.Contains(zsh, "'--"+flag+"[") || !strings.Contains(fish, " -l "+flag+" ") {
			t.Errorf("--%s is missing", flag)
		}
	}
}
