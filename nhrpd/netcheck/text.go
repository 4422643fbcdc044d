package netcheck

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Widths of the text.
const (
	width      = 100
	labelWidth = 14
	markWidth  = 8
)

// marks has how the text shows each verdict.
var marks = map[Verdict]string{Good: "good", Unknown: "unknown", Look: "LOOK", Wrong: "WRONG"}

// headlines has the first line of the text for each verdict.
var headlines = map[Verdict]string{
	Good:    "All is good.",
	Unknown: "Nothing is wrong, and not all could be found out.",
	Look:    "Nothing is wrong for certain. What is marked LOOK deserves a look.",
	Wrong:   "Something is WRONG.",
}

// Lines returns a report as lines of text.
func Lines(r *Report) []string {
	lines := append([]string{headlines[r.Verdict], "", "this router"}, resultLines(r.Results)...)
	for n := range r.Tunnels {
		t := &r.Tunnels[n]
		lines = append(append(lines, "", t.Interface), resultLines(t.Results)...)
		for m := range t.Servers {
			s := &t.Servers[m]
			lines = append(append(lines, "", s.title(t)), resultLines(s.Results)...)
		}
	}
	return lines
}

// title returns the line above the results of an NHS.
func (s *Server) title(t *Tunnel) string {
	title := t.Interface + ": NHS " + s.Name
	if s.Address.IsValid() && s.Address.String() != s.Name {
		title += " at " + s.Address.String()
	}
	if s.Protocol.IsValid() {
		title += ", " + s.Protocol.String()
	}
	return title
}

// resultLines returns results as lines, those of each behind its mark and what it is about.
func resultLines(results []Result) []string {
	var lines []string
	for _, r := range results {
		head := fmt.Sprintf("  %-*s%-*s", markWidth, marks[r.Verdict], labelWidth, r.About)
		for _, line := range wrap(r.Found, width-len(head)) {
			lines = append(lines, head+line)
			head = strings.Repeat(" ", len(head))
		}
		if r.Do != "" {
			for n, line := range wrap(r.Do, width-len(head)-4) {
				lines = append(lines, head+[]string{"do: ", "    "}[min(n, 1)]+line)
			}
		}
	}
	return lines
}

// wrap breaks text into lines of at most that many characters, where it has spaces.
func wrap(text string, width int) []string {
	lines := []string{""}
	for _, word := range strings.Fields(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}
