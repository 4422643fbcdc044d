package vici

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// fakeCharon speaks VICI over pipes, so that tests run in a bubble with its own clock. It keeps
// connections and SAs, and does what the hooks say.
type fakeCharon struct {
	onDial   func(f *fakeCharon) // called with the lock held
	mu       sync.Mutex
	version  string
	since    string   // when it started, in charon's form
	methods  []string // key exchanges, in charon's words
	down     bool
	sessions map[*fakeSession]bool
	conns    map[string]*tree
	order    []string // of the commands, as "command argument"
	shared   []*tree
	sas      map[uint32]*tree // the section of an IKE_SA; its name is under "name"
	lastID   uint32
	at       []time.Time // of the initiations
	forced   int         // terminations that wait for no peer

	delay map[string]time.Duration // before a command has its effect
	// IKE_AUTH requests that came; nil: there are no counters
	auths *int
	// its answer; called with mu held. Its events come after the answer: see answered
	onInitiate func(f *fakeCharon, name string) *tree
	initiating bool        // onInitiate runs
	held       []fakeEvent // what onInitiate raised
	coming     int         // how many initiations have held events that are still to come
	// before the confirmation; called with mu held
	onSubscribe func(f *fakeCharon, event string)
	// before list-sas streams; called with mu held
	onList func(f *fakeCharon)
	// charon stands still until it is closed; nil: it does not
	still chan struct{}
	// an IKE_SA is to be rekeyed; called with mu held
	onRekey func(f *fakeCharon, id uint32)
	unknown string // an event that it does not know
	// after it streamed, how long its answer takes; called with mu held
	onListed func(f *fakeCharon) time.Duration
}

// fakeEvent is an event on its way to its subscribers.
type fakeEvent struct {
	name   string
	packet []byte
}

type fakeSession struct {
	f      *fakeCharon
	conn   net.Conn
	events map[string]bool
	mu     sync.Mutex
	queue  [][]byte
	wake   chan struct{}
}

func newFake() *fakeCharon {
	return &fakeCharon{version: "5.9.8", sessions: map[*fakeSession]bool{},
		conns: map[string]*tree{}, sas: map[uint32]*tree{}}
}

func (f *fakeCharon) dial(context.Context, string, string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, syscall.ECONNREFUSED
	}
	if f.onDial != nil {
		f.onDial(f)
	}
	ours, theirs := net.Pipe()
	s := &fakeSession{f: f, conn: ours, events: map[string]bool{}, wake: make(chan struct{}, 1)}
	f.sessions[s] = true
	go s.serve()
	go s.write()
	return theirs, nil
}

func (s *fakeSession) send(b []byte) {
	s.mu.Lock()
	s.queue = append(s.queue, b)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *fakeSession) write() {
	for range s.wake {
		s.mu.Lock()
		queue := s.queue
		s.queue = nil
		s.mu.Unlock()
		for _, b := range queue {
			if _, err := s.conn.Write(b); err != nil {
				return
			}
		}
	}
}

func (s *fakeSession) serve() {
	defer func() {
		s.f.mu.Lock()
		delete(s.f.sessions, s)
		s.f.mu.Unlock()
		_ = s.conn.Close()
		close(s.wake)
	}()
	for {
		kind, name, m, err := readPacket(s.conn)
		if err != nil {
			return
		}
		s.f.mu.Lock()
		if still := s.f.still; still != nil {
			s.f.mu.Unlock()
			<-still
			s.f.mu.Lock()
		}
		if delay := s.f.delay[name]; delay > 0 {
			s.f.mu.Unlock()
			<-time.After(delay)
			s.f.mu.Lock()
		}
		switch kind {
		case eventRegister:
			if s.f.onSubscribe != nil {
				s.f.onSubscribe(s.f, name)
			}
			if name == s.f.unknown {
				s.send(packet(eventUnknown, "", nil))
				break
			}
			s.events[name] = true
			s.send(packet(eventConfirm, "", nil))
		case eventUnregister:
			delete(s.events, name)
			s.send(packet(eventConfirm, "", nil))
		case cmdRequest:
			if answer := s.f.command(s, name, m); answer != nil {
				s.send(packet(cmdResponse, "", answer))
			}
		}
		s.f.mu.Unlock()
	}
}

var yes = mk("success", "yes")

// command answers a command; mu is held. No answer leaves the client waiting.
func (f *fakeCharon) command(s *fakeSession, command string, m *tree) *tree {
	argument := ""
	switch command {
	case "load-conn":
		argument = m.keys[0]
		f.conns[argument] = m.values[argument].(*tree)
	case "unload-conn", "get-conns", "load-shared", "version":
		argument = m.text("name")
	case "initiate":
		argument = m.text("ike")
	case "terminate":
		argument = m.text("ike-id")
	case "list-sas":
		argument = m.text("ike") + m.text("ike-id")
	}
	if command == "get-counters" { // asked all the time
		if f.auths == nil {
			return mk("success", "no", "errmsg", "no counters")
		}
		return mk("counters",
			mk("", mk("ike-init-in-req", "9", "ike-auth-in-req", strconv.Itoa(*f.auths))))
	}
	if command == "stats" { // asked with the version
		if f.since == "" {
			return mk("success", "no", "errmsg", "no statistics")
		}
		return mk("uptime", mk("running", "3 minutes", "since", f.since))
	}
	f.order = append(f.order, strings.TrimSpace(command+" "+argument))
	switch command {
	case "version":
		return mk("daemon", "charon", "version", f.version)
	case "get-algorithms":
		if slices.Contains(f.methods, "refuse to list") {
			return mk("success", "no", "errmsg", "no")
		}
		methods := mk()
		for _, method := range f.methods {
			methods.set(method, "ml")
		}
		return mk("aead", mk("AES_GCM_16", "openssl"), "ke", methods)
	case "load-shared":
		f.shared = append(f.shared, m)
	case "unload-conn":
		if f.conns[argument] == nil {
			return mk("success", "no", "errmsg", "connection not found")
		}
		delete(f.conns, argument)
	case "get-conns":
		return mk("conns", slices.Sorted(maps.Keys(f.conns)))
	case "list-sas":
		if f.onList != nil {
			f.onList(f)
		}
		for _, id := range f.ids() {
			sa := f.sas[id]
			if argument == "" || argument == sa.text("name") || argument == sa.text("uniqueid") {
				s.send(packet(eventRaised, "list-sa", mk(sa.text("name"), sa)))
			}
		}
		if f.onListed != nil {
			delay := f.onListed(f)
			f.mu.Unlock()
			<-time.After(delay)
			f.mu.Lock()
		}
		return mk()
	case "initiate":
		f.at = append(f.at, time.Now())
		if f.onInitiate != nil {
			f.initiating = true
			answer := f.onInitiate(f, argument)
			f.initiating = false
			f.answered()
			return answer
		}
	case "terminate":
		id, _ := strconv.Atoi(argument)
		if f.sas[uint32(id)] == nil {
			return mk("success", "no", "errmsg", "no matching SAs to terminate found")
		}
		if m.text("force") == "yes" {
			f.forced++
		}
		f.end(uint32(id))
	case "rekey":
		if id, _ := strconv.Atoi(m.text("ike-id")); id != 0 {
			if f.onRekey != nil {
				f.onRekey(f, uint32(id))
			}
			break
		}
		f.rekeyChild(m.text("child-id"))
	}
	return yes
}

// standStill makes charon answer nothing until goOn is called. Its peers get no sign of that.
func (f *fakeCharon) standStill() { f.do(func(f *fakeCharon) { f.still = make(chan struct{}) }) }

func (f *fakeCharon) goOn() {
	f.do(func(f *fakeCharon) {
		close(f.still)
		f.still = nil
	})
}

// rekeyIKE has another IKE_SA take the place of one, as a peer agrees that has it; mu is held.
func rekeyIKE(f *fakeCharon, id uint32) {
	old := f.sas[id]
	if old == nil {
		return
	}
	name := old.text("name")
	fresh, sa := f.section(name, old.text("remote-host"), "initiator", old.text("initiator"),
		"child-sas", old.values["child-sas"])
	delete(f.sas, id)
	f.sas[fresh] = sa
	f.raise("ike-rekey", mk(name, mk("old", old, "new", sa)))
}

// rekeyChild has a new child take the place of another, as both ends agree on at once; mu is held.
func (f *fakeCharon) rekeyChild(id string) {
	for _, sa := range f.sas {
		children, _ := sa.values["child-sas"].(*tree)
		if children == nil {
			continue
		}
		for _, name := range children.keys {
			if child := children.values[name].(*tree); child.text("uniqueid") == id {
				child.set("uniqueid", "1"+id)
			}
		}
	}
}

func (f *fakeCharon) ids() []uint32 {
	return slices.Sorted(maps.Keys(f.sas))
}

// raise sends an event to its subscribers; mu is held.
func (f *fakeCharon) raise(event string, m *tree) {
	e := fakeEvent{event, packet(eventRaised, event, m)}
	if f.initiating {
		f.held = append(f.held, e)
		return
	}
	f.deliver(e)
}

// deliver sends an event to its subscribers; mu is held.
func (f *fakeCharon) deliver(e fakeEvent) {
	for s := range f.sessions {
		if s.events[e.name] {
			s.send(e.packet)
		}
	}
}

// moment is the time from the answer to an initiation until what comes of it. It is so short that
// nothing else happens meanwhile, and the client has dealt with the answer by then: time passes in
// a bubble only when all goroutines wait.
const moment = time.Nanosecond

// answered sends what an initiation raised a moment later; mu is held. charon answers at once,
// before it sends a packet to the peer. Answers and events come over two connections, so the
// client would otherwise get them in any order.
func (f *fakeCharon) answered() {
	if len(f.held) == 0 {
		return
	}
	events := f.held
	f.held = nil
	f.coming++
	go func() {
		time.Sleep(moment)
		f.do(func(f *fakeCharon) {
			f.coming--
			for _, e := range events {
				f.deliver(e)
			}
		})
	}()
}

// isComing reports whether an initiation was answered, and what came of it was not yet sent.
func (f *fakeCharon) isComing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.coming > 0
}

// section makes an established IKE_SA with a child; overrides are keys and values. mu is held.
func (f *fakeCharon) section(name, remote string, overrides ...any) (uint32, *tree) {
	f.lastID++
	id := f.lastID
	sa := mk("name", name, "uniqueid", strconv.Itoa(int(id)), "state", "ESTABLISHED",
		"local-host", "192.0.2.100", "local-id", "me.example.net",
		"remote-host", remote, "remote-port", "500", "remote-id", "id-"+remote, "initiator", "yes",
		"initiator-spi", fmt.Sprintf("%016x", 1000+id), "responder-spi",
		fmt.Sprintf("%016x", 2000+id),
		"encr-alg", "AES_GCM_16", "encr-keysize", "128", "established", "0",
		"child-sas", mk(fmt.Sprintf("gre-%d", id), f.child(id, "TRANSPORT")))
	for i := 0; i < len(overrides); i += 2 {
		sa.set(overrides[i].(string), overrides[i+1])
	}
	return id, sa
}

func (f *fakeCharon) child(id uint32, mode string) *tree {
	return mk("name", "gre", "uniqueid", strconv.Itoa(int(id)), "reqid", "1", "state", "INSTALLED",
		"mode", mode,
		"spi-in", fmt.Sprintf("%08x", 0xc0000000+id), "spi-out", fmt.Sprintf("%08x", 0xd0000000+id),
		"bytes-in", "7", "bytes-out", "8")
}

// establish brings up an SA with the events in charon's order; mu is held.
func (f *fakeCharon) establish(name, remote string, overrides ...any) uint32 {
	id, sa := f.section(name, remote, overrides...)
	f.sas[id] = sa
	bare := mk()
	for _, key := range sa.keys {
		if key != "child-sas" {
			bare.set(key, sa.values[key])
		}
	}
	bare.set("state", "CONNECTING")
	f.raise("ike-updown", mk("up", "yes", name, bare))
	f.raise("child-updown", mk("up", "yes", name, sa))
	return id
}

// end takes an SA down with its events, in charon's order; mu is held.
func (f *fakeCharon) end(id uint32) {
	sa := f.sas[id]
	delete(f.sas, id)
	sa.set("state", "DELETING")
	f.raise("ike-updown", mk(sa.text("name"), sa))
	f.raise("child-updown", mk(sa.text("name"), sa))
}

// childless has initiations with a peer give an IKE_SA without a child, and charon say why if there
// is a reason.
func (f *fakeCharon) childless(peer, reason string) {
	f.do(func(f *fakeCharon) {
		f.onInitiate = func(f *fakeCharon, name string) *tree {
			id, sa := f.section(name, peer, "child-sas", mk())
			f.sas[id] = sa
			f.raise("ike-updown", mk("up", "yes", name, sa))
			if reason != "" {
				f.raise("log", mk("ikesa-name", name, "msg", reason))
			}
			return yes
		}
	})
}

// do runs change with mu held.
func (f *fakeCharon) do(change func(f *fakeCharon)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// crash ends all sessions and refuses new ones; SAs and connections are forgotten.
func (f *fakeCharon) crash() {
	f.do(func(f *fakeCharon) {
		f.down = true
		clear(f.sas)
		clear(f.conns)
		for s := range f.sessions {
			_ = s.conn.Close()
		}
	})
}

// onListOnce has something happen before the next list-sas streams.
func (f *fakeCharon) onListOnce(happens func(f *fakeCharon)) {
	f.do(func(f *fakeCharon) {
		f.onList = func(f *fakeCharon) {
			f.onList = nil
			happens(f)
		}
	})
}

// comeBack makes charon accept connections again, as after its restart.
func (f *fakeCharon) comeBack() { f.do(func(f *fakeCharon) { f.down = false }) }

// seen is a copy of what a fake charon has, and of the commands that it got.
type seen struct {
	order  []string
	shared []*tree
	at     []time.Time
	sas    []uint32
	conns  []string
}

func (f *fakeCharon) seen() seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	return seen{slices.Clone(f.order), slices.Clone(f.shared), slices.Clone(f.at), f.ids(),
		slices.Sorted(maps.Keys(f.conns))}
}

// count counts the commands that begin so.
func (f *fakeCharon) count(prefix string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, command := range f.order {
		if strings.HasPrefix(command, prefix) {
			n++
		}
	}
	return n
}

func (f *fakeCharon) has(conn string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conns[conn] != nil
}

// subscribers counts the sessions that are subscribed to an event.
func (f *fakeCharon) subscribers(event string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for s := range f.sessions {
		if s.events[event] {
			n++
		}
	}
	return n
}
