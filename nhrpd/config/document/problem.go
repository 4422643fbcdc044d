package document

import "fmt"

// Problem is one fault in a file.
type Problem struct {
	File string // the document, or another file that it names
	Line int    // counted from 1; 0: the file as a whole
	// in TOML's notation, with indexes into lists, such as interface.gre1.nhs[0].nbma; empty: the
	// file as a whole
	Key  string
	Text string // what was found, what is allowed and what was probably meant
}

// Error returns the problem in one line, as FILE:LINE: KEY: TEXT.
func (p *Problem) Error() string {
	where := p.File
	if p.Line > 0 {
		where = fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	if p.Key != "" {
		where += ": " + p.Key
	}
	return where + ": " + p.Text
}
