package account

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/wording"
)

// questionLines tells a question from its beginning to its end; "none" if there was none.
func questionLines(q *api.ExplainedQuestion, now time.Time) []string {
	lines := []string{indicatedLine(q, now)}
	if q.Own && q.Ignored != "" {
		lines = append(lines, "nothing followed from it: "+q.Ignored)
	}
	lines = append(lines, askedLine(q, now), answeredLine(q, now), endedLine(q, now))
	if q.Until.After(now) {
		lines = append(lines, "it is not asked again for another "+wording.Span(q.Until.Sub(now)))
	}
	lines = slices.DeleteFunc(lines, func(line string) bool { return line == "" })
	if len(lines) == 0 {
		return []string{"none"}
	}
	return lines
}

// indicatedLine says what the question came from; "" if that is not known.
func indicatedLine(q *api.ExplainedQuestion, now time.Time) string {
	at := wording.When(q.Indicated, now)
	switch {
	case q.Indicated.IsZero():
		return ""
	case !q.Own && q.Ignored == "":
		return at + " this router told it that there is a shorter way"
	case !q.Own:
		return at + " a packet came through, and this router did not tell it of a shorter way: " +
			q.Ignored
	case q.ByHand:
		return at + " the administrator had this router ask"
	case q.Indicator.IsValid():
		return fmt.Sprintf("%s %s indicated a shorter way", at, q.Indicator)
	}
	return at + " the kernel missed the neighbour"
}

// askedLine says whom the question went to; "" if it went to nobody.
func askedLine(q *api.ExplainedQuestion, now time.Time) string {
	if q.Asked.IsZero() {
		return ""
	}
	asked := "asked"
	if !q.Own {
		asked = "its question was passed on to"
	}
	line := fmt.Sprintf("%s %s %s at %s", wording.When(q.Asked, now), asked,
		wording.Or(q.Via, "?"), wording.Or(q.At, "?"))
	if q.Sent > 1 {
		line += fmt.Sprintf(", for the %s time", ordinal(q.Sent))
	}
	return line
}

// answeredLine says what was answered; "" if nothing was.
func answeredLine(q *api.ExplainedQuestion, now time.Time) string {
	if q.Answered.IsZero() {
		return ""
	}
	line := wording.When(q.Answered, now) + " " + wording.Or(q.Answerer, "a router") + " answered"
	switch {
	case q.Code != 0:
		line += fmt.Sprintf(" no: code %d, %s", q.Code, q.CodeText)
	case q.NextHop.IsValid() && q.Prefix.IsValid():
		line += fmt.Sprintf(": %s is behind %s at %s", q.Prefix, q.NextHop, wording.Or(q.NBMA, "?"))
	}
	return line
}

// endedLine says how the question, or the shortcut that came of it, ended; "" if it did not, or if
// the answer says so already.
func endedLine(q *api.ExplainedQuestion, now time.Time) string {
	at := wording.When(q.Ended, now)
	switch {
	case q.Outcome == "up" && q.Own:
		return at + " the shortcut came up"
	case q.Outcome == "ended":
		return at + " the shortcut ended: " + q.Reason
	case q.Own && q.Outcome != "" && q.Outcome != "refused":
		return at + " the question ended: " + cmp.Or(q.Reason, q.Outcome)
	}
	return ""
}

// ordinal writes how many times something happened, as in "for the 2nd time".
func ordinal(n int) string {
	switch n {
	case 2:
		return "2nd"
	case 3:
		return "3rd"
	}
	return fmt.Sprintf("%dth", n)
}
