package tc

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"cygnet/kernel/rtnl"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The messages of traffic control (linux/rtnetlink.h, linux/pkt_cls.h).
const (
	tcmsgLen = 20 // size in bytes of struct tcmsg, which the attributes follow

	tcaKind    = 1
	tcaOptions = 2
	tcaChain   = 11

	bpfFD    = 6
	bpfName  = 7
	bpfFlags = 8
	bpfTag   = 10
	bpfID    = 11

	bpfDirectAction = 1 // TCA_BPF_FLAG_ACT_DIRECT: the result of the program is the verdict

	kindBPF = "bpf"

	clsactHandle uint32 = 0xffff0000
	clsactParent uint32 = 0xfffffff1 // TC_H_CLSACT
)

// kernelFilter is a filter as the kernel has it. The fields after kind are set only if kind is bpf.
type kernelFilter struct {
	priority uint16
	handle   uint32
	kind     string
	name     string
	program  uint32 // id of the program
	tag      string // the kernel's hash of the program's code
	direct   bool   // see bpfDirectAction
}

// String describes the filter, for messages.
func (f *kernelFilter) String() string {
	if f.name == "" {
		return fmt.Sprintf("a %s filter of priority %d", f.kind, f.priority)
	}
	return fmt.Sprintf("a %s filter of priority %d (%s)", f.kind, f.priority, f.name)
}

// tcmsg returns struct tcmsg.
func tcmsg(index int, handle, parent, info uint32) []byte {
	b := make([]byte, 4, tcmsgLen) // family, padding
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	b = binary.NativeEndian.AppendUint32(b, handle)
	b = binary.NativeEndian.AppendUint32(b, parent)
	return binary.NativeEndian.AppendUint32(b, info)
}

// filterInfo returns tcm_info of a filter: its priority, and the protocol of the packets that it
// gets, which is any.
func filterInfo(priority uint16) uint32 {
	return uint32(priority)<<16 | uint32(rtnl.NetworkOrder(unix.ETH_P_ALL))
}

// parseFilter reads a filter of chain 0; packets do not come to other chains by themselves. It
// returns false for other chains, and for the entry without options by which the kernel lists each
// priority.
func parseFilter(m netlink.Message) (f kernelFilter, ok bool) {
	if len(m.Data) < tcmsgLen {
		return f, false
	}
	f.handle = binary.NativeEndian.Uint32(m.Data[8:])
	f.priority = uint16(binary.NativeEndian.Uint32(m.Data[16:]) >> 16)
	attributes, err := netlink.NewAttributeDecoder(m.Data[tcmsgLen:])
	if err != nil {
		return f, false
	}
	options, chain := false, uint32(0)
	for attributes.Next() {
		switch attributes.Type() {
		case tcaKind:
			f.kind = attributes.String()
		case tcaChain:
			chain = attributes.Uint32()
		case tcaOptions:
			options = true
			if f.kind == kindBPF {
				attributes.Nested(f.parseBPF)
			}
		}
	}
	return f, attributes.Err() == nil && options && chain == 0
}

// parseBPF reads the options of a bpf filter.
func (f *kernelFilter) parseBPF(options *netlink.AttributeDecoder) error {
	for options.Next() {
		switch options.Type() {
		case bpfName:
			f.name = options.String()
		case bpfID:
			f.program = options.Uint32()
		case bpfTag:
			f.tag = hex.EncodeToString(options.Bytes())
		case bpfFlags:
			f.direct = options.Uint32()&bpfDirectAction != 0
		}
	}
	return nil
}

// dumpFilters reads the filters at one end of a device's clsact qdisc. It returns none if the
// device has no clsact qdisc.
func dumpFilters(r *rtnl.Conn, index int, at Direction) ([]kernelFilter, error) {
	messages, err := r.Dump(unix.RTM_GETTFILTER, tcmsg(index, 0, uint32(at), 0))
	if err != nil {
		return nil, err
	}
	var filters []kernelFilter
	for _, m := range messages {
		if f, ok := parseFilter(m); ok {
			filters = append(filters, f)
		}
	}
	return filters, nil
}

// dumpQdiscs returns the kinds of a device's qdiscs.
func dumpQdiscs(r *rtnl.Conn, index int) ([]string, error) {
	messages, err := r.Dump(unix.RTM_GETQDISC, tcmsg(index, 0, 0, 0))
	if err != nil {
		return nil, err
	}
	var kinds []string
	for _, m := range messages {
		if indexOf(m) != index || len(m.Data) < tcmsgLen {
			continue // the kernel lists the qdiscs of all devices
		}
		attributes, err := netlink.NewAttributeDecoder(m.Data[tcmsgLen:])
		if err != nil {
			return nil, err
		}
		for attributes.Next() {
			if attributes.Type() == tcaKind {
				kinds = append(kinds, attributes.String())
			}
		}
	}
	return kinds, nil
}

// addClsact adds a clsact qdisc to a device.
func addClsact(r *rtnl.Conn, index int) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.String(tcaKind, "clsact")
	_, err := r.Ask(netlink.Message{
		Header: netlink.Header{
			Type:  unix.RTM_NEWQDISC,
			Flags: netlink.Acknowledge | netlink.Create | netlink.Excl,
		},
		Data: append(tcmsg(index, clsactHandle, clsactParent, 0), rtnl.Encode(attributes)...),
	})
	return err
}

// setFilter adds the filter. With replace it replaces the program of the filter that is there, in
// one step.
func setFilter(r *rtnl.Conn, f *Filter, index int, replace bool) error {
	flags := netlink.Acknowledge | netlink.Create
	if !replace {
		flags |= netlink.Excl
	}
	attributes := netlink.NewAttributeEncoder()
	attributes.String(tcaKind, kindBPF)
	attributes.Nested(tcaOptions, func(options *netlink.AttributeEncoder) error {
		options.Uint32(bpfFD, uint32(f.Program.FD()))
		options.String(bpfName, f.Name)
		options.Uint32(bpfFlags, bpfDirectAction)
		return nil
	})
	head := tcmsg(index, f.Handle, uint32(f.At), filterInfo(f.Priority))
	_, err := r.Ask(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWTFILTER, Flags: flags},
		Data:   append(head, rtnl.Encode(attributes)...),
	})
	return err
}

// deleteFilter removes the filter.
func deleteFilter(r *rtnl.Conn, f *Filter, index int) error {
	attributes := netlink.NewAttributeEncoder()
	attributes.String(tcaKind, kindBPF)
	head := tcmsg(index, f.Handle, uint32(f.At), filterInfo(f.Priority))
	_, err := r.Ask(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_DELTFILTER, Flags: netlink.Acknowledge},
		Data:   append(head, rtnl.Encode(attributes)...),
	})
	return err
}

// indexOf returns the index of the device that a message of traffic control is about.
func indexOf(m netlink.Message) int {
	if len(m.Data) < tcmsgLen {
		return 0
	}
	return int(int32(binary.NativeEndian.Uint32(m.Data[4:])))
}
