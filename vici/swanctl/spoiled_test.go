package swanctl_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cygnet/vici/swanctl"
)

// Files that are spoiled by a byte too many or too few, or by a piece in the wrong place: what
// swanctl refuses is refused here, and what swanctl accepts is read as swanctl reads it. Everything
// that is an error only here has a known reason.
func TestSpoiledFilesAsSwanctlDoes(t *testing.T) {
	files, err := filepath.Glob("testdata/sites/*/swanctl.conf")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sites: %v", err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	same, refused := 0, 0
	for range 150 {
		text, err := os.ReadFile(files[random.IntN(len(files))])
		if err != nil {
			t.Fatal(err)
		}
		spoiled := spoil(random, string(text))
		dir := site(t, spoiled)
		loaded, out := recordSwanctl(t, dir)
		f, err := swanctl.Load(filepath.Join(dir, "swanctl.conf"))
		switch {
		case err != nil && strings.Contains(err.Error(), "include without"):
			continue // swanctl ignores it
		case strings.Contains(out, "invalid config file") != (err != nil):
			t.Errorf("swanctl says %s\nhere it is %v, of:\n%s", out, err, spoiled)
			continue
		case err != nil:
			refused++
			continue
		case strings.Contains(out, "certificate"), !strings.Contains(out, "connections"):
			continue // a missing certificate, or swanctl has crashed
		}
		same++
		if diff := cmp.Diff(
			slices.Sorted(maps.Keys(loaded)), slices.Sorted(slices.Values(f.Names())),
		); diff != "" {
			t.Errorf("connections of swanctl (-) and here (+):\n%s\nof:\n%s", diff, spoiled)
		}
		for name, want := range loaded {
			c, err := f.Connection(name)
			if problem := (*swanctl.Problem)(nil); errors.As(err, &problem) {
				continue // swanctl cuts off or misreads it
			}
			if diff := cmp.Diff(want, lines(&c.Section)); diff != "" {
				t.Errorf("%s: swanctl sends (-), read here (+):\n%s\nof:\n%s", name, diff, spoiled)
			}
		}
	}
	if same < 30 || refused < 30 {
		t.Errorf("only %d files were read by both, %d refused by both", same, refused)
	}
}

var pieces = []string{
	"{", "}", "\n", "\"", "#", "=", ":", ",", ".", " ", "\\", "\t", "include ", "include \"part\"",
	"include\tpart\n", "a", "connections",
	"\r", " : a ", "x = ", "dmvpn", "'", "ü", "connections.dmvpn", "\\\n",
}

// spoil removes bytes from a text, inserts some, or copies a part of it to another place.
func spoil(random *rand.Rand, text string) string {
	for range 1 + random.IntN(3) {
		at := random.IntN(len(text))
		switch random.IntN(3) {
		case 0:
			text = text[:at] + text[min(len(text), at+1+random.IntN(5)):] + " "
		case 1:
			text = text[:at] + pieces[random.IntN(len(pieces))] + text[at:]
		default:
			from := random.IntN(len(text))
			text = text[:at] + text[from:min(len(text), from+random.IntN(60))] + text[at:]
		}
	}
	return text
}
