package vici

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// The VICI wire format for the fake charon: packet types and message elements as strongSwan's vici
// plugin documents them.
const (
	cmdRequest = iota
	cmdResponse
	cmdUnknown
	eventRegister
	eventUnregister
	eventConfirm
	eventUnknown
	eventRaised
)

const (
	sectionStart = iota + 1
	sectionEnd
	keyValue
	listStart
	listItem
	listEnd
)

// tree is a message: strings, lists of strings and trees by key, in order.
type tree struct {
	keys   []string
	values map[string]any
}

// mk makes a tree from keys and values in turn.
func mk(pairs ...any) *tree {
	m := &tree{values: map[string]any{}}
	for i := 0; i < len(pairs); i += 2 {
		m.set(pairs[i].(string), pairs[i+1])
	}
	return m
}

func (m *tree) set(key string, value any) {
	if !slices.Contains(m.keys, key) {
		m.keys = append(m.keys, key)
	}
	m.values[key] = value
}

func (m *tree) text(key string) string { s, _ := m.values[key].(string); return s }

func (m *tree) encode(b []byte) []byte {
	for _, key := range m.keys {
		switch v := m.values[key].(type) {
		case string:
			b = appendName(append(b, keyValue), key)
			b = binary.BigEndian.AppendUint16(b, uint16(len(v)))
			b = append(b, v...)
		case []string:
			b = appendName(append(b, listStart), key)
			for _, item := range v {
				b = binary.BigEndian.AppendUint16(append(b, listItem), uint16(len(item)))
				b = append(b, item...)
			}
			b = append(b, listEnd)
		case *tree:
			b = appendName(append(b, sectionStart), key)
			b = append(v.encode(b), sectionEnd)
		default:
			panic(fmt.Sprintf("%T in a message", v))
		}
	}
	return b
}

func appendName(b []byte, name string) []byte { return append(append(b, byte(len(name))), name...) }

// reader takes a message apart; what is malformed panics, since only govici's output gets here.
type reader struct{ b []byte }

func (r *reader) take(n int) []byte { part := r.b[:n]; r.b = r.b[n:]; return part }

func (r *reader) name() string { return string(r.take(int(r.take(1)[0]))) }

func (r *reader) value() string { return string(r.take(int(binary.BigEndian.Uint16(r.take(2))))) }

func (r *reader) tree() *tree {
	m := mk()
	for len(r.b) > 0 {
		switch element := r.take(1)[0]; element {
		case sectionEnd:
			return m
		case sectionStart:
			name := r.name()
			m.set(name, r.tree())
		case keyValue:
			name := r.name()
			m.set(name, r.value())
		case listStart:
			name, items := r.name(), []string{}
			for r.take(1)[0] == listItem {
				items = append(items, r.value())
			}
			m.set(name, items)
		default:
			panic(fmt.Sprintf("element %d in a message", element))
		}
	}
	return m
}

// readPacket reads one packet: its type, its name where the type has one, and its message.
func readPacket(in io.Reader) (kind byte, name string, m *tree, err error) {
	var head [4]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, "", nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(in, body); err != nil {
		return 0, "", nil, err
	}
	r := &reader{body}
	kind = r.take(1)[0]
	name = r.name()
	return kind, name, r.tree(), nil
}

// packet encodes a packet; only events have a name.
func packet(kind byte, name string, m *tree) []byte {
	b := []byte{0, 0, 0, 0, kind}
	if kind == eventRaised {
		b = appendName(b, name)
	}
	if m != nil {
		b = m.encode(b)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}
