package selection

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// parseVersions reads the candidates of a name with addresses of both IP versions, IPv6 first. Each
// has the form that parse reads, with these additions behind it: 4 for IPv4, ! if the client
// registers with it, +N if it got its SA N seconds ago, -N if it failed N seconds ago.
func parseVersions(t *testing.T, text string) []Candidate {
	t.Helper()
	var all []Candidate
	for word := range strings.FieldsSeq(text) {
		parts := strings.Split(word, ",")
		c := parse(t, parts[0])[0]
		c.Priority, c.Name = 0, 1
		for _, p := range parts[1:] {
			var seconds float64
			switch {
			case p == "4":
				c.IPv4 = true
			case p == "!":
				c.Active = true
			default:
				if _, err := fmt.Sscan(p[1:], &seconds); err != nil {
					t.Fatalf("%q: %v", word, err)
				}
				at := start.Add(-time.Duration(seconds * float64(time.Second)))
				if p[0] == '-' {
					c.Failed = at
				} else {
					c.Ready = at
				}
			}
		}
		if c.Failed.After(c.Ready) && !c.Ready.IsZero() {
			c.Ready = c.Failed
		}
		all = append(all, c)
	}
	return all
}

// Of a name with addresses of both IP versions, those of one are used at a time, and IPv6 if it
// answers.
func TestVersions(t *testing.T) {
	for _, tt := range []struct {
		rule string
		all  string
		want string
		next float64 // in seconds; 0: no review is due
	}{
		{"IPv6 is tried first", "i i,4", "connect reserve", 3},
		{"and is alone for a second", "t0.5,! i,4", "connect reserve", 0.5},
		{"then IPv4 is dialled", "t1,! i,4", "connect standby", 2},
		{"an SA over IPv6 decides for it until it fails", "t2,!,+1 i,4,+1", "connect reserve", 1},
		{"IPv4 is used if it has an SA first", "t2,! i,4,+0", "standby connect", 3},
		{"IPv6 in use leaves IPv4 alone", "c*60,!,+60 i,4,+1", "use reserve", 0},
		{"one whose SA went keeps its place for a moment", "l*0,! i,4,+9", "use reserve", 1},
		{"and no longer", "l*1,! i,4", "probe standby", 0},
		{"IPv4 takes over", "f*0,!,-0 i,4,+0", "standby connect", 3},
		{"but not where it failed a moment ago", "f*0,!,-0 i,4,+90,-9", "probe standby", 21},
		{"unless it has a new SA", "f*0,!,-0 i,4,+5,-9", "standby connect", 3},
		{"IPv6 stands by without an SA", "i c*60,4,!,+60", "standby use", 0},
		{"IPv6 has an SA, and waits", "i,+10 c*60,4,!,+60", "standby use", 20},
		{"and is registered with after the fallback delay", "i,+30 c*60,4,!,+60", "connect use", 0},
		{"and waits longer if it failed", "i,+90,-10 c*60,4,!,+60", "standby use", 20},
		{"IPv4 is used until it answers", "t2,!,+32 c*60,4,!,+60", "connect use", 0},
		{"and left when it answers", "c0,!,+0 c*60,4,!,+60", "use reserve", 0},
		{"an attempt that fails changes nothing", "f0,!,+40,-0 c*60,4,!,+60", "standby use", 30},
		{"IPv4 fails as well: IPv6 at once", "i,+5 f*0,4,!,-0", "connect reserve", 3},
		{"nothing answers: both are tried on", "f,!,-0 i,4", "probe standby", 0},
		{"one address of IPv6 is enough", "f,!,-0 c*5,! i,4,+1", "probe use reserve", 0},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			rules := Rules{FallbackDelay: 30 * time.Second}
			roles, next := Choose(start, rules, parseVersions(t, tt.all))
			var got []string
			for _, r := range roles {
				got = append(got, roleNames[r])
			}
			if g := strings.Join(got, " "); g != tt.want {
				t.Errorf("%s: got %s, want %s", tt.all, g, tt.want)
			}
			due := 0.0
			if !next.IsZero() {
				due = next.Sub(start).Seconds()
			}
			if due != tt.next {
				t.Errorf("%s: the next review is due in %v s, want %v", tt.all, due, tt.next)
			}
		})
	}
}

// A name that is not needed, since a better NHS of the cluster is used, is left alone over both
// versions.
func TestVersionsInReserve(t *testing.T) {
	all := parseVersions(t, "c*60,!,+60 i i,4")
	all[0].Name, all[1].Priority, all[2].Priority = 0, 1, 1
	roles, _ := Choose(start, Rules{MaxConnections: map[uint8]int{0: 1}}, all)
	if roles[1] != Reserve || roles[2] != Reserve {
		t.Errorf("got %v", roles)
	}
}

// versionsModel is a client with a hub at an address of each IP version, of which each has an SA
// and answers, or not.
type versionsModel struct {
	now     time.Time
	all     [2]Candidate // IPv6, then IPv4
	roles   []Role
	passes  [2]bool // IKE and ESP pass
	esp     [2]bool // ESP passes if IKE does
	changes int     // how often IPv6 began to be used
}

// advance lets a step of time pass. An SA takes a step, as does an answer. Seven seconds without an
// answer are a failure.
func (m *versionsModel) advance() {
	m.now = m.now.Add(step)
	for i := range m.all {
		c := &m.all[i]
		if m.roles[i] == Reserve || !m.passes[i] {
			c.Ready = time.Time{}
		} else if c.Ready.IsZero() {
			c.Ready = m.now
		}
		answers := !c.Ready.IsZero() && m.esp[i]
		switch {
		case m.roles[i] == Reserve || m.roles[i] == Standby:
			c.State = Idle
		case c.State == Idle:
			m.enter(i, Trying)
		case answers:
			m.enter(i, Connected)
		case c.State == Connected && c.Ready.IsZero():
			m.enter(i, Lost)
		case c.State != Failed && m.now.Sub(c.Since) > 7*time.Second:
			m.enter(i, Failed)
			c.Failed = m.now
			if !c.Ready.IsZero() {
				c.Ready = m.now
			}
		}
	}
	roles, next := Choose(m.now, Rules{FallbackDelay: 20 * time.Second}, m.all[:])
	if !next.IsZero() && !next.After(m.now) {
		panic("the next review is due now")
	}
	if roles[0] == Use && !m.all[0].InUse {
		m.changes++
	}
	for i := range m.all {
		m.all[i].InUse = roles[i] == Use
		m.all[i].Active = roles[i] != Reserve && roles[i] != Standby
	}
	m.roles = roles
}

// enter sets the state of a candidate.
func (m *versionsModel) enter(i int, s State) {
	if m.all[i].State != s {
		m.all[i].State, m.all[i].Since = s, m.now
	}
}

// run lets time pass.
func (m *versionsModel) run(d time.Duration) {
	for range d / step {
		m.advance()
	}
}

// Whatever fails and returns, never are both versions used at the same time, and at rest IPv6 is
// used if it works, else IPv4 if that works.
func TestVersionsAtRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &versionsModel{now: start, roles: make([]Role, 2)}
		m.all[0].Name, m.all[1].Name, m.all[1].IPv4 = 1, 1, true
		for range rapid.IntRange(1, 20).Draw(t, "changes") {
			for i := range m.all {
				m.passes[i], m.esp[i] = rapid.Bool().Draw(t, "IKE"), rapid.Bool().Draw(t, "ESP")
			}
			for range rapid.IntRange(0, 300).Draw(t, "steps") {
				m.advance()
				if m.roles[0] == Use && m.roles[1] == Use {
					t.Fatalf("both are used")
				}
			}
		}
		m.run(5 * time.Minute)
		six, four := m.passes[0] && m.esp[0], m.passes[1] && m.esp[1]
		if (m.roles[0] == Use) != six || (m.roles[1] == Use) != (four && !six) {
			t.Fatalf("IPv6 works: %v, IPv4 works: %v, and the roles are %v", six, four, m.roles)
		}
	})
}
