package swanctl

import (
	"fmt"
	"strconv"
)

// Pos is a place in one of the files that were read.
type Pos struct {
	File string
	Line int // counted from 1; 0: the file as a whole
}

// String returns the place as FILE:LINE.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}

// Problem is a part of the files that cannot be used. It never contains the value of a secret.
type Problem struct {
	Pos Pos
	// the key with the sections around it, such as connections.dmvpn.children.gre.mode; empty: the
	// place is enough
	Key  string
	Text string // what was found, what it means and what to write instead
}

// Error returns the problem in one line, as FILE:LINE: KEY: TEXT.
func (p *Problem) Error() string {
	if p.Key == "" {
		return p.Pos.String() + ": " + p.Text
	}
	return p.Pos.String() + ": " + p.Key + ": " + p.Text
}

func problemf(at Pos, format string, args ...any) *Problem {
	return &Problem{Pos: at, Text: fmt.Sprintf(format, args...)}
}

// quote makes a name from a file printable and short, for a message.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}
