package snmp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/nhrpd/api"
)

// asking is a server for a daemon that a test changes.
type asking struct {
	Server
	asked  int
	status *api.Status
	err    error
	takes  time.Duration
	log    strings.Builder
}

func newAsking() *asking {
	a := &asking{status: hub()}
	a.Log = slog.New(slog.NewTextHandler(&a.log, nil))
	a.Status = func(context.Context) (*api.Status, error) {
		a.asked++
		time.Sleep(a.takes)
		return a.status, a.err
	}
	return a
}

// questions returns what the server answers to some lines.
func (a *asking) questions(t *testing.T, lines ...string) string {
	t.Helper()
	var out strings.Builder
	input := strings.NewReader(strings.Join(lines, "\n") + "\n")
	if err := a.Serve(t.Context(), input, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

const (
	subtree = ".1.3.6.1.2.1.71"
	prefix  = ".1.3.6.1.2.1.71.1.1.2.1.4.1.4.10.255.0.11.7.33" // nhrpCachePrefixLength
	nbma    = ".1.3.6.1.2.1.71.1.1.2.1.7.1.4.10.255.0.11.7.33" // nhrpCacheNbmaAddr
)

// snmpd gets an answer to each of its questions, in the form of pass_persist.
func TestQuestions(t *testing.T) {
	for _, test := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"greeting", []string{"PING"}, "PONG\n"},
		{"object", []string{"get", prefix}, prefix + "\ninteger\n32\n"},
		{"bytes", []string{"get", nbma}, nbma + "\noctet\nc6 33 64 0b\n"},
		{"no bytes", []string{"get", strings.Replace(nbma, ".2.1.7.", ".2.1.8.", 1)},
			strings.Replace(nbma, ".2.1.7.", ".2.1.8.", 1) + "\noctet\n\n"},
		{"no object", []string{"get", subtree}, none},
		{"first object", []string{"getnext", subtree}, subtree + ".1.1.1.0\ngauge\n0\n"},
		{"next object", []string{"getnext", subtree + ".1.1.1.0"}, subtree +
			".1.1.2.1.4.1.4.10.255.0.11.7.33\ninteger\n32\n"},
		{"after the last", []string{"getnext", subtree + ".2"}, none},
		{"no identifier", []string{"get", "sysUpTime.0"}, none},
		{"too long", []string{"getnext", strings.Repeat(".1", 129)}, none},
		{"change", []string{"set", prefix, "integer 7", "PING"}, "not-writable\nPONG\n"},
	} {
		if got := newAsking().questions(t, test.lines...); got != test.want {
			t.Errorf("%s: the answer is %q, want %q", test.name, got, test.want)
		}
	}
}

// A line that is no question, or far too long, ends the program: snmpd starts it anew. So does the
// end of snmpd, or an interrupt, which are no faults.
func TestEnds(t *testing.T) {
	for _, input := range []string{"what\n", strings.Repeat("x", 10000)} {
		if err := newAsking().Serve(t.Context(), strings.NewReader(input), io.Discard); err == nil {
			t.Errorf("%.10q is taken", input)
		}
	}
	for _, input := range []string{"", "get\n", "set\n" + prefix + "\n"} {
		if err := newAsking().Serve(t.Context(), strings.NewReader(input), io.Discard); err != nil {
			t.Errorf("%q: %v", input, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	silent, _ := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- newAsking().Serve(ctx, silent, io.Discard) }()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// The daemon is asked once for all questions of some seconds, and more seldom where the answer
// takes long. What it said does not outlive it.
func TestStatusIsKeptForSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsking()
		is := func(asked int, there bool) {
			t.Helper()
			answer := a.questions(t, "get", prefix, "get", prefix)
			if a.asked != asked || (answer != none+none) != there {
				t.Errorf("after %d questions to the daemon, want %d, the answer is %q", a.asked,
					asked, answer)
			}
		}
		is(1, true)
		time.Sleep(Fresh - time.Millisecond)
		is(1, true)
		a.err = errors.New("it is away")
		time.Sleep(time.Millisecond)
		is(2, false)
		is(2, false)
		time.Sleep(awayFor)
		is(3, false)
		if n := strings.Count(a.log.String(), "\n"); n != 1 ||
			!strings.Contains(a.log.String(), "it is away") {
			t.Errorf("the log is\n%s", a.log.String())
		}
		a.err, a.takes = nil, time.Second
		time.Sleep(awayFor)
		is(4, true)
		if !strings.Contains(a.log.String(), "gives its status") {
			t.Errorf("the log is\n%s", a.log.String())
		}
		time.Sleep(share*time.Second - time.Millisecond)
		is(4, true)
		time.Sleep(time.Millisecond)
		is(5, true)
	})
}

// Whatever comes in, the server answers with whole lines or ends.
func FuzzServe(f *testing.F) {
	f.Add("PING\nget\n" + prefix + "\ngetnext\n" + subtree + "\nset\n.1\ninteger 1\n")
	f.Add("getnext\n.1.3.6.1.2.1.71.1.1.2.1.4.1.4.10.255.0.11.7.4294967295\n")
	f.Fuzz(func(t *testing.T, input string) {
		var out strings.Builder
		newAsking().Serve(t.Context(), strings.NewReader(input), &out)
		if out.Len() > 0 && !strings.HasSuffix(out.String(), "\n") {
			t.Errorf("the answer is %q", out.String())
		}
	})
}
