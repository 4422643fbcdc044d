package report

import "time"

// InquiryStatus is a copy of what an interface knows of its authorizer.
type InquiryStatus struct {
	Socket  string    // where the authorizer listens
	Allow   bool      // the default: without an answer, what the rules allow is allowed
	Silent  time.Time // since when it does not answer; zero: it does, or was not asked
	Open    int       // questions without an answer
	Queued  int       // registered clients about whom it is to be asked
	Rulings int       // answers that are kept

	InquiryCounts
}

// InquiryCounts counts questions to the authorizer since the start of the engine.
type InquiryCounts struct {
	Asked       uint64
	Allowed     uint64
	Refused     uint64
	Unanswered  uint64 // within the time-out
	Late        uint64 // of Allowed and Refused, those that came after the time-out
	Unsolicited uint64 // answers to no question, or much too late
}

// RulingStatus is a copy of what the authorizer says of a client.
type RulingStatus struct {
	Socket  string // where the authorizer listens
	Known   bool   // there is a ruling; the rest is about it
	Refused bool
	Text    string // of a refusal, in the authorizer's words

	NoShortcut bool      // there is to be no direct path to or from the client
	Ends       time.Time // when the authorizer is asked again
}
