package document

import (
	"bytes"
	"strings"
)

// File is one of the files that a document consists of.
type File struct {
	Name string // in messages
	Data []byte
}

// files has, for each file of a document, its name and how many lines come before it.
type files []struct {
	name   string
	before int
}

// join returns the text of all files, one after the other, and where each begins. It returns a
// problem if a further file does not begin with a table: its first keys would count for the last
// table of the file before.
func join(list []File) (files, []byte, *Problem) {
	var all files
	var text []byte
	for i, f := range list {
		if i > 0 {
			if line, key := firstKey(f.Data); line > 0 {
				return nil, nil, &Problem{File: f.Name, Line: line, Key: key,
					Text: "a key before the first table; write the table above it, such as [interface.gre1]"}
			}
		}
		all = append(all, struct {
			name   string
			before int
		}{f.Name, bytes.Count(text, []byte("\n"))})
		text = append(text, f.Data...)
		if i < len(list)-1 {
			text = append(text, '\n')
		}
	}
	return all, text, nil
}

// firstKey returns the line of the first key that a file has before any table, and the key; 0 if
// there is none.
func firstKey(data []byte) (line int, key string) {
	for i, text := range strings.Split(string(data), "\n") {
		text = strings.TrimSpace(text)
		switch {
		case text == "", strings.HasPrefix(text, "#"):
		case strings.HasPrefix(text, "["):
			return 0, ""
		default:
			key, _, _ := strings.Cut(text, "=")
			return i + 1, strings.TrimSpace(key)
		}
	}
	return 0, ""
}

// at returns the file of a line of the whole document, and its line there.
func (f files) at(line int) (string, int) {
	for i := len(f) - 1; i > 0; i-- {
		if line > f[i].before {
			return f[i].name, line - f[i].before
		}
	}
	return f[0].name, line
}
