package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

// release is one section of CHANGELOG.md.
type release struct {
	version string
	date    time.Time
	changes []string // paragraphs and list items, without the marks of a list, one line each
}

var heading = regexp.MustCompile(`^## ([0-9A-Za-z.~]+)(?: - (\d{4}-\d{2}-\d{2}))?$`)

// readChangelog reads CHANGELOG.md. Changes that are not released yet get the version and the time
// of this build.
func (b *build) readChangelog() ([]release, error) {
	text, err := os.ReadFile(b.source("CHANGELOG.md"))
	if err != nil {
		return nil, fmt.Errorf("read the changelog: %w", err)
	}
	var all []release
	open := false // whether the next line continues the paragraph
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		switch m := heading.FindStringSubmatch(line); {
		case m != nil:
			r, err := b.newRelease(m[1], m[2])
			if err != nil {
				return nil, err
			}
			all, open = append(all, r), false
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
			open = false
		case len(all) > 0:
			r := &all[len(all)-1]
			item, isItem := strings.CutPrefix(line, "- ")
			if open && !isItem {
				r.changes[len(r.changes)-1] += " " + strings.TrimSpace(line)
			} else {
				r.changes = append(r.changes, strings.TrimSpace(item))
			}
			open = true
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("CHANGELOG.md has no release: want headings such as \"## 0.1.0 - 2026-11-29\"")
	}
	return all, nil
}

func (b *build) newRelease(version, date string) (release, error) {
	if version == "Unreleased" {
		return release{version: b.version, date: b.mtime}, nil
	}
	at, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return release{}, fmt.Errorf("CHANGELOG.md: release %s has no date such as 2026-11-29: %w",
			version, err)
	}
	return release{version: version, date: at}, nil
}

// debianChangelog writes the releases in the format of deb-changelog(5).
func debianChangelog(all []release) []byte {
	var text bytes.Buffer
	for _, r := range all {
		if len(r.changes) == 0 {
			continue
		}
		fmt.Fprintf(&text, "cygnet (%s) unstable; urgency=medium\n\n", r.version)
		for _, c := range r.changes {
			fmt.Fprintf(&text, "  * %s\n", strings.Join(wrap(c, 74), "\n    "))
		}
		fmt.Fprintf(&text, "\n -- %s  %s\n\n", maintainer, r.date.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	}
	return text.Bytes()
}

// wrap cuts a text into lines of at most the given number of bytes, at spaces.
func wrap(text string, most int) []string {
	var lines []string
	for _, word := range strings.Fields(text) {
		if n := len(lines); n > 0 && len(lines[n-1])+1+len(word) <= most {
			lines[n-1] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}
