package tc

import (
	"bytes"
	"errors"
	"testing"

	"cygnet/kernel/rtnl"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The daemon's filter is recognized by its priority, handle and name. Another program's filter in
// its place is an error.
func TestFilterTellsOursFromOthers(t *testing.T) {
	wanted := Filter{Device: "gre1", At: Ingress, Name: "ours", Handle: 7, Priority: 8}
	ours := kernelFilter{
		priority: 8, handle: 7, kind: "bpf", name: "ours", program: 1, direct: true,
	}
	bpf := func(priority uint16, handle uint32, name string) kernelFilter {
		return kernelFilter{priority: priority, handle: handle, kind: "bpf", name: name}
	}
	for name, test := range map[string]struct {
		have  []kernelFilter
		want  *kernelFilter
		taken bool
	}{
		"nothing":          {nil, nil, false},
		"ours":             {[]kernelFilter{ours}, &ours, false},
		"another priority": {[]kernelFilter{bpf(9, 7, "ours")}, nil, false},
		"another handle":   {[]kernelFilter{bpf(8, 1, "theirs"), ours}, &ours, false},
		"our place, bpf":   {[]kernelFilter{bpf(8, 7, "theirs")}, nil, true},
		"our place, other": {
			[]kernelFilter{{priority: 8, handle: 1, kind: "matchall"}}, nil, true,
		},
		"one before ours": {[]kernelFilter{{priority: 1, kind: "flower"}, ours}, &ours, false},
		"another's behind ours": {
			[]kernelFilter{ours, {priority: 9, handle: 7, kind: "u32"}}, &ours, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := wanted.among(test.have)
			if errors.Is(err, ErrPlaceTaken) != test.taken {
				t.Errorf("error %v, want that the place is taken: %v", err, test.taken)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(kernelFilter{})); diff != "" {
				t.Errorf("our filter (-want +got):\n%s", diff)
			}
		})
	}
}

// filterMessage returns a filter as the kernel lists it.
func filterMessage(index int, priority uint16, kind string, chain uint32,
	options func(*netlink.AttributeEncoder) error) netlink.Message {
	attributes := netlink.NewAttributeEncoder()
	attributes.String(tcaKind, kind)
	attributes.Uint32(tcaChain, chain)
	if options != nil {
		attributes.Nested(tcaOptions, options)
	}
	return netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWTFILTER},
		Data: append(tcmsg(index, 7, uint32(Ingress), filterInfo(priority)),
			rtnl.Encode(attributes)...),
	}
}

// parseFilter reads a bpf filter of chain 0, and leaves out other chains and entries without
// options.
func TestParseFilter(t *testing.T) {
	program := func(e *netlink.AttributeEncoder) error {
		e.String(bpfName, "ours")
		e.Uint32(bpfFlags, bpfDirectAction)
		e.Uint32(bpfID, 77)
		return nil
	}
	empty := func(*netlink.AttributeEncoder) error { return nil }
	want := kernelFilter{
		priority: 8193,
		handle:   7,
		kind:     "bpf",
		name:     "ours",
		program:  77,
		direct:   true,
	}
	u32 := kernelFilter{priority: 8193, handle: 7, kind: "u32"}
	cut := filterMessage(3, 8193, "bpf", 0, program)
	cut.Data = cut.Data[:tcmsgLen-1]
	for name, test := range map[string]struct {
		message netlink.Message
		want    *kernelFilter
	}{
		"a program":             {filterMessage(3, 8193, "bpf", 0, program), &want},
		"another kind":          {filterMessage(3, 8193, "u32", 0, empty), &u32},
		"a priority by itself":  {filterMessage(3, 8193, "bpf", 0, nil), nil},
		"a filter of a chain":   {filterMessage(3, 8193, "bpf", 5, program), nil},
		"a message cut short":   {cut, nil},
		"a message with no end": {netlink.Message{Data: append(tcmsg(3, 7, 0, 0), 9, 0, 1)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := parseFilter(test.message)
			if ok != (test.want != nil) {
				t.Fatalf("read %v, %v", got, ok)
			}
			if ok && got != *test.want {
				t.Errorf("read %+v, want %+v", got, *test.want)
			}
		})
	}
}

// A notification counts only if it is about one of the given devices, or if some were lost.
func TestTouched(t *testing.T) {
	about := func(kind netlink.HeaderType, index int) netlink.Message {
		return netlink.Message{Header: netlink.Header{Type: kind}, Data: tcmsg(index, 0, 0, 0)}
	}
	notice := func(ms ...netlink.Message) rtnl.Notice { return rtnl.Notice{Messages: ms} }
	short := netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWLINK}}
	for name, test := range map[string]struct {
		notice rtnl.Notice
		want   bool
	}{
		"a filter of ours":    {notice(about(unix.RTM_DELTFILTER, 3)), true},
		"a qdisc of ours":     {notice(about(unix.RTM_DELQDISC, 4)), true},
		"a filter of another": {notice(about(unix.RTM_DELTFILTER, 5)), false},
		"the device":          {notice(about(unix.RTM_NEWLINK, 3)), true},
		"another device":      {notice(about(unix.RTM_NEWLINK, 5)), false},
		"the second of two": {
			notice(about(unix.RTM_NEWLINK, 5), about(unix.RTM_NEWTFILTER, 3)), true,
		},
		"notifications are lost": {rtnl.Notice{Lost: true}, true},
		"a message cut short":    {notice(short), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Touched(test.notice, 3, 4); got != test.want {
				t.Errorf("touched: %v, want %v", got, test.want)
			}
		})
	}
}

// The parsers do not panic or write into the message, however long the message is and whatever
// lengths its attributes claim.
func FuzzParseFilter(f *testing.F) {
	f.Add(filterMessage(3, 8193, kindBPF, 0, func(e *netlink.AttributeEncoder) error {
		e.String(bpfName, "ours")
		e.Uint32(bpfID, 77)
		return nil
	}).Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		for _, kind := range []netlink.HeaderType{
			unix.RTM_NEWTFILTER, unix.RTM_DELTFILTER, unix.RTM_NEWLINK,
		} {
			m := netlink.Message{Header: netlink.Header{Type: kind}, Data: data}
			if f, ok := parseFilter(m); ok && f.program != 0 && f.kind != kindBPF {
				t.Errorf("filter %+v", f)
			}
			Touched(rtnl.Notice{Messages: []netlink.Message{m}}, 3)
		}
		if !bytes.Equal(before, data) {
			t.Error("a parser wrote into the message")
		}
	})
}
