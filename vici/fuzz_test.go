package vici

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/message"
)

// answered returns the answer that a call gets from a charon which answers every command with these
// bytes.
func answered(t *testing.T, payload []byte) *govici.Message {
	ours, theirs := net.Pipe()
	go func() {
		defer ours.Close()
		var head [4]byte
		if _, err := io.ReadFull(ours, head[:]); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, ours,
			int64(binary.BigEndian.Uint32(head[:]))); err != nil {
			return
		}
		frame := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)))
		_, _ = ours.Write(append(append(frame, cmdResponse), payload...))
		_, _ = io.Copy(io.Discard, ours)
	}()
	c := New(Options{Log: slog.New(slog.DiscardHandler)})
	c.dialer.Dial = func(context.Context, string, string) (net.Conn, error) { return theirs, nil }
	s, err := c.dialer.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	answer, _ := s.Call(t.Context(), 200*time.Millisecond, "version", nil)
	return answer
}

// Whatever the other end of the socket sends, nothing panics, and the tables agree with each other.
func FuzzMessages(f *testing.F) {
	charon := newFake()
	_, sa := charon.section("cygnet-gre1", "192.0.2.1")
	f.Add(mk("up", "yes", "cygnet-gre1", sa).encode(nil))
	f.Add(mk("cygnet-gre1", mk("old", sa, "new", sa)).encode(nil))
	f.Add(mk("cygnet-gre1", mk("uniqueid", "1", "remote-host", "192.0.2.1", "child-sas",
		mk("gre-1", mk("old", sa, "new", sa)))).encode(nil))
	f.Add(mk("local-host", "fe80::1%eth0", "cygnet-gre1-2001:db8::1", sa).encode(nil))
	f.Add(mk("type", "local-auth-failed", "cygnet-gre1-192.0.2.1", sa).encode(nil))
	f.Add(mk("cygnet-gre1", mk("remote-id", "a\nb\x1b[2J", "uniqueid", "99999999999", "remote-host",
		"::")).encode(nil))
	f.Add([]byte{keyValue, 255, 'a'})
	f.Add([]byte{listStart, 1, 'a', listItem, 255, 255})
	f.Add([]byte{sectionStart, 0, sectionStart, 0})
	f.Fuzz(func(t *testing.T, payload []byte) {
		m := answered(t, payload)
		if m == nil {
			return
		}
		r := newReconciler(New(Options{Log: slog.New(slog.DiscardHandler)}))
		r.setProfile(testProfile())
		r.synced = true
		for _, event := range []string{"ike-updown", "child-updown", "ike-update", "ike-rekey",
			"child-rekey", "alert", "child-updown"} {
			r.handle(govici.Event{Name: event, Message: m})
		}
		r.dialler.logLine(message.Text(m, "ikesa-name"), message.Text(m, "msg"))
		count := 0
		for k := range r.index.Keys() {
			sas := r.index.SAs(k)
			count += len(sas)
			for _, sa := range sas {
				if r.sas[sa.ID] != sa || !k.NBMA.IsValid() {
					t.Errorf("%v has %d: %+v", k, sa.ID, sa)
				}
			}
		}
		if count != len(r.sas) {
			t.Errorf("%d SAs by peer, %d by id", count, len(r.sas))
		}
	})
}
