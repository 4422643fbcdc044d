package config

import "testing"

// A slip of the finger is recognised, another word is not taken for one.
func TestNearest(t *testing.T) {
	words := []string{"status", "shortcuts", "peers", "nhs", "sas", "leave"}
	for _, test := range []struct{ word, want string }{
		{"status", "status"},
		{"staus", "status"},    // left out
		{"statuss", "status"},  // doubled
		{"satus", "status"},    // left out
		{"sttaus", "status"},   // swapped
		{"stotus", "status"},   // replaced
		{"nsh", "nhs"},         // swapped, short
		{"short", "shortcuts"}, // begun
		{"leave-now", "leave"}, // begins
		{"restart", ""},        // another word
		{"x", ""},              // too short to tell
		{"", ""},               // nothing
	} {
		if got := Nearest(test.word, words); got != test.want {
			t.Errorf("Nearest(%q) = %q, want %q", test.word, got, test.want)
		}
	}
}
