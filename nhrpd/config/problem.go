package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Problem is one fault in a configuration file. The error of [Load] or [Parse] is one Problem or
// several joined: those in the configuration in the order of the file, then those in swanctl.conf
// and the files that it includes.
type Problem struct {
	// the configuration or, if [interface.NAME.ipsec] names one, the swanctl.conf or a file that it
	// includes
	File string
	Line int // counted from 1; 0: the file as a whole
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

// checker collects the faults of one file.
type checker struct {
	file      string
	lines     map[string]int // lines by path.String
	read      fileReader     // nil: do not open files that the configuration names
	problems  []*Problem
	warnings  []string
	obstacles []string

	legacyConf string // path of ipsec.conf
}

func (c *checker) problem(at path, format string, args ...any) {
	c.problems = append(c.problems, c.at(at, fmt.Sprintf(format, args...)))
}

func (c *checker) warn(at path, format string, args ...any) {
	c.warnings = append(c.warnings, c.at(at, fmt.Sprintf(format, args...)).Error())
}

func (c *checker) at(at path, text string) *Problem {
	return &Problem{File: c.file, Line: c.line(at), Key: at.String(), Text: text}
}

// line returns the line of a path. For a path that the file does not have, it returns the line of
// the innermost table around it.
func (c *checker) line(at path) int {
	for ; len(at) > 0; at = at[:len(at)-1] {
		if line, ok := c.lines[at.String()]; ok {
			return line
		}
	}
	return 0
}

func (c *checker) err() error {
	slices.SortStableFunc(c.problems, func(a, b *Problem) int {
		switch {
		case a.File == b.File:
			return cmp.Compare(a.Line, b.Line)
		case a.File == c.file:
			return -1
		case b.File == c.file:
			return 1
		}
		return cmp.Compare(a.File, b.File)
	})
	errs := make([]error, len(c.problems))
	for i, p := range c.problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}
