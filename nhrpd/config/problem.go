package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Problem is one fault in a configuration file. The errors of [Load] and [Parse] are one Problem or several of them joined,
// in the order of the file, then those in swanctl.conf and its includes.
type Problem struct {
	File string // the configuration, or where [interface.NAME.ipsec] names one, the swanctl.conf or a file included by it
	Line int    // counted from 1; 0: the file as a whole
	Key  string // as TOML writes it, with indexes into lists: interface.gre1.nhs[0].nbma; empty: the file as a whole
	Text string // what was found, what is allowed and what may have been meant
}

// Error returns the problem on one line as FILE:LINE: KEY: TEXT.
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

// checker collects what is wrong with one file.
type checker struct {
	file     string
	lines    map[string]int // by path.String
	read     fileReader     // nil: files that the configuration names are not opened
	problems []*Problem
	warnings []string
	doubts   []string

	legacyConf string // ipsec.conf
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

// line finds where a path was written; for what is missing, where the nearest table around it was.
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
