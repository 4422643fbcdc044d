package nearest

import "testing"

// Word recognises a typing error, and does not take another word for one.
func TestWord(t *testing.T) {
	words := []string{"status", "shortcuts", "peers", "nhs", "sas", "leave"}
	for _, test := range []struct{ word, want string }{
		{"status", "status"},
		{"staus", "status"},    // letter left out
		{"statuss", "status"},  // letter doubled
		{"satus", "status"},    // letter left out
		{"sttaus", "status"},   // letters swapped
		{"stotus", "status"},   // letter replaced
		{"nsh", "nhs"},         // letters swapped in a short word
		{"short", "shortcuts"}, // the beginning of a candidate
		{"leave-now", "leave"}, // begins with a candidate
		{"restart", ""},        // another word
		{"x", ""},              // too short to tell
		{"", ""},               // empty
	} {
		if got := Word(test.word, words); got != test.want {
			t.Errorf("Word(%q) = %q, want %q", test.word, got, test.want)
		}
	}
}
