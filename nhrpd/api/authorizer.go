package api

import "time"

// Authorizer tells of the program of the site that is asked before a router is registered.
type Authorizer struct {
	Socket  string `json:"socket"`
	Default string `json:"default"` // without an answer, new routers get this: refuse or allow
	// there is a connection to it
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"` // when connected became what it is
	// since when it has not answered; absent: it answers, or was not asked
	Silent time.Time `json:"silent_since,omitzero"`
	// why there is no connection, or what was wrong with its last line
	Error string `json:"error,omitempty"`

	Asked       uint64 `json:"asked"`       // questions
	Allowed     uint64 `json:"allowed"`     // answers that allow
	Refused     uint64 `json:"refused"`     // answers that refuse
	Unanswered  uint64 `json:"unanswered"`  // questions without an answer in time
	Late        uint64 `json:"late"`        // answers after that time
	Unsolicited uint64 `json:"unsolicited"` // answers to no question, or much too late
	Malformed   uint64 `json:"malformed"`   // lines of it that could not be read
	Dropped     uint64 `json:"dropped"`     // questions that could not be sent to it

	Open    int `json:"open"`    // questions without an answer
	Queued  int `json:"queued"`  // registered routers about whom it is to be asked
	Rulings int `json:"rulings"` // answers that are remembered
}

// The values of Authorizer.Default.
const (
	AuthorizerRefuses = "refuse"
	AuthorizerAllows  = "allow"
)

// ExplainedRuling is what the authorizer says of a registered router.
type ExplainedRuling struct {
	Socket     string    `json:"socket"`
	Known      bool      `json:"known"`       // it has answered; the rest is about the answer
	Refused    bool      `json:"refused"`     // the router may not be registered
	Text       string    `json:"text"`        // why, in the authorizer's words
	NoShortcut bool      `json:"no_shortcut"` // the router may have no direct paths
	Ends       time.Time `json:"ends,omitzero"`
}

// authorizers writes how the authorizers answer, for the interfaces that have one.
func (m *metrics) authorizers(s *Status) {
	each := func(name, kind, help string, write func(i *Interface, a *Authorizer)) {
		m.family(name, kind, help)
		for n := range s.Interfaces {
			if i := &s.Interfaces[n]; i.Authorizer != nil {
				write(i, i.Authorizer)
			}
		}
	}
	each("cygnet_authorizer_answers", "gauge",
		"1 while there is a connection to the authorizer and it answers.",
		func(i *Interface, a *Authorizer) {
			m.sample(bit(a.Connected && a.Silent.IsZero()), "interface", i.Name)
		})
	each("cygnet_authorizer_questions_total", "counter",
		"Questions to the authorizer by result: allowed, refused, or unanswered in time.",
		func(i *Interface, a *Authorizer) {
			m.sample(float64(a.Allowed), "interface", i.Name, "result", "allowed")
			m.sample(float64(a.Refused), "interface", i.Name, "result", "refused")
			m.sample(float64(a.Unanswered), "interface", i.Name, "result", "unanswered")
		})
	each("cygnet_authorizer_malformed_total", "counter",
		"Lines of the authorizer that could not be read.",
		func(i *Interface, a *Authorizer) { m.sample(float64(a.Malformed), "interface", i.Name) })
	each("cygnet_authorizer_open_questions", "gauge",
		"Questions to the authorizer without an answer yet.",
		func(i *Interface, a *Authorizer) { m.sample(float64(a.Open), "interface", i.Name) })
	each("cygnet_authorizer_rulings", "gauge", "Answers of the authorizer that are remembered.",
		func(i *Interface, a *Authorizer) { m.sample(float64(a.Rulings), "interface", i.Name) })
}
