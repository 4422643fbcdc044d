package vici

import (
	"strings"
	"testing"
	"time"
)

// counts makes charon count this many more IKE_AUTH requests.
func (f *fakeCharon) counts(more int) {
	if f.auths == nil {
		f.auths = new(int)
	}
	*f.auths += more
}

// dialled makes charon log a failed attempt of a router that dials in. The last line says why the
// attempt fails.
func (f *fakeCharon) dialled(remote, identity, last string) {
	for _, line := range []string{
		"received packet: from " + remote + "[500] to 192.0.2.100[500] (500 bytes)",
		"looking for peer configs matching 192.0.2.100[me.example.net]..." +
			remote + "[" + identity + "]",
		"selected peer config 'cygnet-gre1'",
		last,
	} {
		f.raise("log", mk("ikesa-name", "cygnet-gre1", "ikesa-uniqueid", "77", "msg", line))
	}
}

// refusedOf returns the Refused events among events.
func refusedOf(events []Event) []Refused {
	var list []Refused
	for _, e := range events {
		if r, ok := e.(Refused); ok {
			list = append(list, r)
		}
	}
	return list
}

// While as many IKE_SAs come up as other routers ask for, the client has no log subscription. Once
// fewer come up, the client subscribes for a while, and reports which router fails and why. It does
// not report the same router with every attempt.
func TestFailedDialIsReported(t *testing.T) {
	for last, want := range map[string]string{
		"tried 1 shared key for 'me.example.net' - 'spoke1', but MAC mismatched": "compare the PSK",
		"no shared key found for 'me.example.net' - 'spoke1'":                    "compare identity on both",
		"no matching peer config found":                                          "compare remote_identity here",
		"no trusted RSA public key found for 'spoke1'":                           "does not trust",
	} {
		bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
			f.do(func(f *fakeCharon) { f.counts(3) })
			after(c, 20*time.Second)
			f.do(func(f *fakeCharon) {
				f.establish("cygnet-gre1", "192.0.2.2", "initiator", "no")
				f.counts(1)
			})
			after(c, 20*time.Second)
			wantNoLogSubscription(t, f, "while none fails")
			f.do(func(f *fakeCharon) { f.counts(1) })
			after(c, 10*time.Second)
			if n := f.subscribers("log"); n != 1 {
				t.Fatalf("after a failure: want one log subscription, have %d", n)
			}
			f.do(func(f *fakeCharon) {
				f.dialled("192.0.2.9", "spoke1", last)
				f.dialled("192.0.2.9", "spoke1", last)
			})
			got := refusedOf(eventsNow(c))
			if len(got) != 1 || got[0].Key != key("192.0.2.9") || got[0].Identity != "spoke1" ||
				!strings.Contains(got[0].Reason, want) || !strings.Contains(got[0].Reason, last) {
				t.Errorf("%s: want %q, have %+v", last, want, got)
			}
			after(c, 3*time.Minute)
			wantNoLogSubscription(t, f, "long after the failure")
		})
	}
}

// The client does not report attempts at an address that no interface uses, or attempts that this
// end makes itself. It does not take many attempts at the same time for failures.
func TestFailedDialsOfOthersAreNotReported(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.counts(0) })
		after(c, 20*time.Second)
		f.do(func(f *fakeCharon) {
			for i := range 2 * busyInbound {
				f.establish("cygnet-gre1", "192.0.3."+string(rune('0'+i%10))+string(rune('0'+i/10)),
					"initiator", "no")
			}
			f.counts(2*busyInbound + 5)
		})
		after(c, 10*time.Second)
		wantNoLogSubscription(t, f, "in a crowd")
		f.do(func(f *fakeCharon) { f.counts(1) })
		after(c, 10*time.Second)
		f.do(func(f *fakeCharon) {
			f.raise("log", mk("ikesa-uniqueid", "5", "msg",
				"received packet: from 192.0.2.9[500] to 203.0.113.1[500] (5 bytes)"))
			f.raise("log", mk("ikesa-uniqueid", "5", "msg", "no matching peer config found"))
			f.raise("log", mk("ikesa-uniqueid", "6", "msg", "no matching peer config found"))
			f.dialled("192.0.2.2", "up", "no matching peer config found")
		})
		c.Want(key("192.0.2.2"), Accept)
		if got := refusedOf(eventsNow(c)); len(got) != 1 || got[0].NBMA.String() != "192.0.2.2" {
			t.Errorf("want the failure of 192.0.2.2 alone, have %+v", got)
		}
	})
}
