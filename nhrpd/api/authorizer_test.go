package api

import (
	"strings"
	"testing"
	"time"
)

// The metrics tell of each authorizer whether it answers and what it answered. Without one there
// are none.
func TestAuthorizerMetrics(t *testing.T) {
	s := small()
	text := func() string {
		var b strings.Builder
		if err := WriteMetrics(&b, s, 0); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if strings.Contains(text(), "\ncygnet_authorizer") {
		t.Error("there are metrics of an authorizer that there is not")
	}
	s.Interfaces[0].Authorizer = &Authorizer{Connected: true, Allowed: 3, Refused: 2,
		Unanswered: 1, Open: 4, Rulings: 5, Malformed: 6}
	got := text()
	for _, want := range []string{
		`cygnet_authorizer_answers{interface="gre1"} 1`,
		`cygnet_authorizer_questions_total{interface="gre1",result="allowed"} 3`,
		`cygnet_authorizer_questions_total{interface="gre1",result="refused"} 2`,
		`cygnet_authorizer_questions_total{interface="gre1",result="unanswered"} 1`,
		`cygnet_authorizer_malformed_total{interface="gre1"} 6`,
		`cygnet_authorizer_open_questions{interface="gre1"} 4`,
		`cygnet_authorizer_rulings{interface="gre1"} 5`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	s.Interfaces[0].Authorizer.Silent = time.Now()
	if !strings.Contains(text(), `cygnet_authorizer_answers{interface="gre1"} 0`) {
		t.Error("a silent authorizer answers")
	}
}
