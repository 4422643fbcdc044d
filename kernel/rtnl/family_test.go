package rtnl

import (
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// withoutIPv6 answers a dump of routes like a kernel booted with ipv6.disable=1: it returns the
// IPv4 routes, whichever family the request names.
type withoutIPv6 struct {
	routes   []netlink.Message
	answer   []netlink.Message
	families []byte // that were requested
	bounds   int    // how often a read deadline was set
}

func (k *withoutIPv6) Send(m netlink.Message) error {
	k.families = append(k.families, m.Data[0])
	k.answer = nil
	for _, route := range append(k.routes, netlink.Message{
		Header: netlink.Header{Type: netlink.Done},
		Data:   make([]byte, 4),
	}) {
		route.Header.Flags, route.Header.Sequence, route.Header.PID =
			netlink.Multi, m.Header.Sequence, m.Header.PID
		k.answer = append(k.answer, route)
	}
	return nil
}

func (k *withoutIPv6) Receive() ([]netlink.Message, error) { return k.answer, nil }
func (k *withoutIPv6) ReceiveIter() iter.Seq2[netlink.Message, error] {
	return func(yield func(netlink.Message, error) bool) {
		for _, m := range k.answer {
			if !yield(m, nil) {
				return
			}
		}
	}
}

func (k *withoutIPv6) SendMessages(m []netlink.Message) error { return k.Send(m[0]) }
func (k *withoutIPv6) SetDeadline(time.Time) error            { return nil }
func (k *withoutIPv6) SetReadDeadline(time.Time) error        { k.bounds++; return nil }
func (k *withoutIPv6) SetWriteDeadline(time.Time) error       { return nil }
func (k *withoutIPv6) Close() error                           { return nil }

// A kernel without IPv6 answers a dump of IPv6 routes with the routes of all other families.
// OwnRoutes returns each route once all the same. If the mirror had a route twice, it would not
// notice that the route is deleted and added again until it reads the table the next time.
func TestRoutesAreReadOnceWithoutIPv6(t *testing.T) {
	want := testRoute("172.16.2.0/24", "10.255.0.2")
	k := &withoutIPv6{routes: []netlink.Message{AddRoute(want, 7)}}
	r := &Conn{conn: netlink.NewConn(k, 1)}
	got, err := r.OwnRoutes(Links{7: {Name: "gre1", up: true}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Route{want}, got, addresses); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]byte{unix.AF_INET, unix.AF_INET6}, k.families); diff != "" {
		t.Errorf("families asked for (-want +got):\n%s", diff)
	}
}

// One deadline for the kernel's answers serves all requests of some seconds. A new deadline is set
// before the old one leaves an answer less than ReadTimeout.
func TestOneDeadlineServesManyRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &withoutIPv6{}
		r := &Conn{conn: netlink.NewConn(k, 1)}
		ask := func() {
			t.Helper()
			if _, err := r.Dump(unix.RTM_GETROUTE, []byte{unix.AF_INET}); err != nil {
				t.Fatal(err)
			}
			if left := time.Until(r.until); left < ReadTimeout {
				t.Errorf("an answer may take %v, want %v at least", left, ReadTimeout)
			}
		}
		for range 10 {
			ask()
		}
		if k.bounds != 1 {
			t.Errorf("%d deadlines were set for ten requests, want 1", k.bounds)
		}
		for range 10 {
			time.Sleep(time.Second)
			ask()
		}
	})
}
