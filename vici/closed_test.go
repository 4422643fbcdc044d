package vici

import "testing"

// An SA that the peer or an administrator closed is distinguished from one that was lost.
func TestClosedIsNotLost(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", "192.0.2.1") })
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.end(1) })
		events := eventsNow(c)
		if len(events) != 1 || !events[0].(Down).Closed() {
			t.Errorf("events %+v", events)
		}
	})
	for reason, closed := range map[string]bool{
		closedByPeer: true, childClosed: true, downWords(&SA{State: "ESTABLISHED"}): false,
		"the SA ended": false, "closed by this end": false,
	} {
		if got := (Down{Reason: reason}).Closed(); got != closed {
			t.Errorf("%q is closed: %v", reason, got)
		}
	}
}
