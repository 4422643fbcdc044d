package ikeprobe

import (
	"encoding/hex"
	"testing"
)

// A probe is an IKE header of version 3.0 and nothing else.
func TestMessage(t *testing.T) {
	s := spi{1, 2, 3, 4, 5, 6, 7, 8}
	const want = "0102030405060708" + "0000000000000000" + "00302208" + "00000000" + "0000001c"
	if have := hex.EncodeToString(s.message()); have != want {
		t.Errorf("want %s, have %s", want, have)
	}
}

// An answer is a whole IKE message with the probe's SPI.
func TestAnsweredBy(t *testing.T) {
	s := spi{1, 2, 3, 4, 5, 6, 7, 8}
	const (
		none   = "0000000000000000"
		ours   = "0102030405060708"
		theirs = "1112131415161718"
		// What charon 5.9.8 sends: no responder's SPI, the exchange type of the probe, and one
		// notification INVALID_MAJOR_VERSION (5).
		rest = "2920222000000000" + "00000024" + "0000000800000005"
	)
	for _, test := range []struct {
		name, packet string
		want         bool
	}{
		{"the notification", ours + none + rest, true},
		{"another probe's", theirs + none + rest, false},
		{"nothing", "", false},
		{"half a header", ours + none, false},
		{"cut short", (ours + none + rest)[:60], false},
	} {
		packet, err := hex.DecodeString(test.packet)
		if err != nil {
			t.Fatal(err)
		}
		if have := s.answeredBy(packet); have != test.want {
			t.Errorf("%s: want %v, have %v", test.name, test.want, have)
		}
	}
}
