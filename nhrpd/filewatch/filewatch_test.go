package filewatch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/problem"
)

// text is a configuration with an interface of the name.
func text(name, more string) string {
	return "[interface." + name + "]\naddress = \"10.255.0.11/24\"\nunderlay = \"eth0\"\n" +
		"key = 42\nprotection = \"none\"\n" + more
}

// The problem names the keys that differ, each interface that only one side has, and what is wrong
// with a file that no daemon would start with. It ends once the two agree.
func TestWhatDiffersIsReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cygnet.toml")
	running, err := config.Parse([]byte(text("gre1", "")), path)
	if err != nil {
		t.Fatal(err)
	}
	w := &Watch{
		Path:     path,
		Running:  func() *config.Config { return running },
		Problems: problem.NewList(),
	}
	for _, c := range []struct {
		file string
		want []string // in the text of the problem; none: there is no problem
	}{
		{text("gre1", ""), nil},
		{text("gre1", "holding_time = \"90s\"\n"), []string{"gre1: holding_time"}},
		{text("gre2", ""), []string{"gre2 is not there yet", "gre1 is there still"}},
		{text("gre1", "holding_tome = 1\n"), []string{"would not start with it", "holding_tome"}},
		{"# a comment\n" + text("gre1", ""), nil},
	} {
		if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		w.check()
		all := w.Problems.All()
		if len(c.want) == 0 {
			if len(all) > 0 {
				t.Errorf("the file agrees, and there is %+v:\n%s", all, c.file)
			}
			continue
		}
		if len(all) != 1 || all[0].Code != api.ProblemFileDiffers || all[0].Subject != path {
			t.Fatalf("want the problem that the file differs, have %+v:\n%s", all, c.file)
		}
		for _, want := range c.want {
			if !strings.Contains(all[0].Text, want) {
				t.Errorf("want %q in %q", want, all[0].Text)
			}
		}
	}
}
