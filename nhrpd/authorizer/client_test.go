package authorizer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// limit is how long a test waits for what has to come at once.
const limit = 30 * time.Second

// heard collects what a client hands on.
type heard struct {
	connected chan struct{}
	answers   chan Answer
	rechecks  chan string
}

func (h heard) Connected(context.Context)            { h.connected <- struct{}{} }
func (h heard) Answered(_ context.Context, a Answer) { h.answers <- a }
func (h heard) Recheck(_ context.Context, id string) { h.rechecks <- id }

// start runs a client that uses a socket, until the test ends.
func start(t *testing.T, socket string) (*Client, heard) {
	t.Helper()
	h := heard{make(chan struct{}, 100), make(chan Answer, 100), make(chan string, 100)}
	c := New(slog.New(slog.DiscardHandler), h)
	c.Use(socket)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := got(t, done); err != nil {
			t.Error(err)
		}
	})
	return c, h
}

// got returns the next value of a channel.
func got[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(limit):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// authorizer is one that the test plays.
type authorizer struct {
	t  *testing.T
	at string
	l  net.Listener
}

func listen(t *testing.T, at string) authorizer {
	t.Helper()
	l, err := net.Listen("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return authorizer{t, at, l}
}

func place(t *testing.T) string { return filepath.Join(t.TempDir(), "authz.sock") }

// accept takes the client's next connection.
func (a authorizer) accept() (net.Conn, *bufio.Reader) {
	a.t.Helper()
	conn, err := a.l.Accept()
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		a.t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// question reads a question.
func (a authorizer) question(in *bufio.Reader) Question {
	a.t.Helper()
	text, err := in.ReadString('\n')
	if err != nil {
		a.t.Fatal(err)
	}
	var q Question
	if err := json.Unmarshal([]byte(text), &q); err != nil {
		a.t.Fatalf("%s: %v", text, err)
	}
	return q
}

// say sends text.
func (a authorizer) say(conn net.Conn, format string, args ...any) {
	a.t.Helper()
	if _, err := fmt.Fprintf(conn, format, args...); err != nil {
		a.t.Fatal(err)
	}
}

var spoke = Question{ID: 1, Interface: "gre1", Identity: "spoke1",
	Address: netip.MustParseAddr("10.255.0.11"), NBMA: netip.MustParseAddr("192.0.2.11"),
	ClientNBMA: netip.MustParseAddr("10.0.0.2"), NAT: true}

// Each question is a line, and the answers may come in any order.
func TestQuestionsAndAnswers(t *testing.T) {
	a := listen(t, place(t))
	c, h := start(t, a.at)
	conn, in := a.accept()
	got(t, h.connected)
	for id := range uint64(3) {
		q := spoke
		q.ID = id
		c.Ask(a.at, q)
	}
	for id := range uint64(3) {
		want := spoke
		want.ID, want.V, want.Kind = id, Version, KindRegistration
		if q := a.question(in); fmt.Sprint(q) != fmt.Sprint(want) {
			t.Errorf("asked %+v, want %+v", q, want)
		}
	}
	a.say(conn, `{"v":1,"id":2,"allow":true}`+"\n"+`{"v":1,"id":0,"allow":false}`+"\n")
	a.say(conn, `{"v":1,"recheck":"spoke7"}`+"\n")
	if first, second := got(t, h.answers), got(t, h.answers); first.ID != 2 || first.Refused ||
		second.ID != 0 || !second.Refused {
		t.Errorf("answered %+v and %+v", first, second)
	}
	if identity := got(t, h.rechecks); identity != "spoke7" {
		t.Errorf("recheck of %q", identity)
	}
	if st := c.State(); !st.Connected || st.Error != "" || st.Dropped+st.Malformed != 0 {
		t.Errorf("state %+v", st)
	}
}

// The protocol as the documentation has it: the first question of a client.
func TestQuestionOnTheWire(t *testing.T) {
	a := listen(t, place(t))
	c, h := start(t, a.at)
	_, in := a.accept()
	got(t, h.connected)
	c.Ask(a.at, spoke)
	const want = `{"v":1,"id":1,"kind":"registration","interface":"gre1","identity":"spoke1",` +
		`"address":"10.255.0.11","nbma":"192.0.2.11","client_nbma":"10.0.0.2","nat":true,` +
		`"registered":false}` + "\n"
	if text, err := in.ReadString('\n'); text != want || err != nil {
		t.Errorf("asked %s, want %s (%v)", text, want, err)
	}
}

// A line that cannot be read is dropped and counted, and the next one counts. Too many in a row end
// the connection, and the client makes a new one.
func TestMalformedAnswers(t *testing.T) {
	a := listen(t, place(t))
	c, h := start(t, a.at)
	conn, _ := a.accept()
	got(t, h.connected)
	a.say(conn, "rubbish\n"+`{"v":1,"id":3,"allow":true}`+"\n")
	if answer := got(t, h.answers); answer.ID != 3 {
		t.Errorf("answered %+v", answer)
	}
	if st := c.State(); st.Malformed != 1 || !strings.Contains(st.Error, "cannot be read") {
		t.Errorf("state %+v", st)
	}
	a.say(conn, "%s", strings.Repeat("rubbish\n", mostMalformed))
	a.accept()
	got(t, h.connected)
}

// A line that is too long ends the connection, and the client makes a new one.
func TestLineTooLong(t *testing.T) {
	a := listen(t, place(t))
	c, h := start(t, a.at)
	conn, _ := a.accept()
	got(t, h.connected)
	a.say(conn, "%s", strings.Repeat("x", MaxLine+1))
	a.accept()
	got(t, h.connected)
	if st := c.State(); st.Malformed != 1 {
		t.Errorf("state %+v", st)
	}
}

// An authorizer that reads nothing holds nobody up: questions are dropped and counted.
func TestAuthorizerReadsNothing(t *testing.T) {
	a := listen(t, place(t))
	c, h := start(t, a.at)
	a.accept()
	got(t, h.connected)
	q := spoke
	q.SharedWith = []string{strings.Repeat("x", 4096)}
	deadline := time.Now().Add(limit)
	for c.State().Dropped == 0 {
		if time.Now().After(deadline) {
			t.Fatal("no question is dropped")
		}
		c.Ask(a.at, q)
	}
}

// Without an authorizer questions are dropped. The client finds one that starts later, and another
// one after that has ended.
func TestAuthorizerComesAndGoes(t *testing.T) {
	at := place(t)
	c, h := start(t, at)
	c.Ask(at, spoke)
	if st := c.State(); st.Connected || st.Dropped != 1 {
		t.Errorf("state %+v", st)
	}
	a := listen(t, at)
	conn, _ := a.accept()
	got(t, h.connected)
	if err := errors.Join(a.l.Close(), conn.Close()); err != nil {
		t.Fatal(err)
	}
	a = listen(t, at)
	conn, in := a.accept()
	got(t, h.connected)
	c.Ask(a.at, spoke)
	q := a.question(in)
	a.say(conn, `{"v":1,"id":%d,"allow":true}`+"\n", q.ID)
	got(t, h.answers)
}

// Another socket takes effect at once, and so does none.
func TestAnotherSocket(t *testing.T) {
	one, two := listen(t, place(t)), listen(t, place(t))
	c, h := start(t, one.at)
	_, first := one.accept()
	got(t, h.connected)
	c.Use(two.at)
	_, second := two.accept()
	got(t, h.connected)
	if _, err := first.ReadByte(); err == nil {
		t.Error("the first connection goes on")
	}
	c.Use("")
	if _, err := second.ReadByte(); err == nil {
		t.Error("the second connection goes on")
	}
}

// Only root and the daemon's own user may decide who registers.
func TestWhoMayListen(t *testing.T) {
	for _, tt := range []struct {
		uid  uint32
		self int
		want bool
	}{{0, 0, true}, {0, 1000, true}, {1000, 1000, true}, {1000, 0, false}, {1001, 1000, false}} {
		if got := trusted(tt.uid, tt.self); got != tt.want {
			t.Errorf("user %d for a daemon of user %d: %t", tt.uid, tt.self, got)
		}
	}
	a := listen(t, place(t))
	conn, err := net.Dial("unix", a.at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if uid, err := listener(conn.(*net.UnixConn)); err != nil || int(uid) != os.Getuid() {
		t.Errorf("user %d listens (%v)", uid, err)
	}
}
