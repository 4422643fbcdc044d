package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"time"
)

//go:embed page
var page embed.FS

// types are the content types of the page's files.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// files are the page's files by their paths.
var files = load()

// asset is a file of the page.
type asset struct {
	text        []byte
	contentType string
	tag         string // changes with the text
}

// load reads the embedded files. There is nothing secret in them, so they need no token: the page
// itself asks for it.
func load() map[string]*asset {
	all := map[string]*asset{}
	entries, err := page.ReadDir("page")
	if err != nil {
		panic(err) // the files are a part of the program
	}
	for _, e := range entries {
		text, err := page.ReadFile("page/" + e.Name())
		if err != nil {
			panic(err)
		}
		hash := sha256.Sum256(text)
		at := "/" + e.Name()
		if e.Name() == "index.html" {
			at = "/{$}"
		}
		all[at] = &asset{text, types[path.Ext(e.Name())], `"` + hex.EncodeToString(hash[:8]) + `"`}
	}
	return all
}

// ServeHTTP implements [http.Handler].
func (a *asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", a.contentType)
	w.Header().Set("Cache-Control", "no-cache") // kept, and asked for by its tag
	w.Header().Set("ETag", a.tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.text))
}
