package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// stage writes the files that have another form in the packages than in the sources to the folder.
func (b *build) stage(folder string) error {
	for _, page := range manPages {
		text, err := os.ReadFile(b.source("packaging/man/" + page))
		if err != nil {
			return fmt.Errorf("read a man page: %w", err)
		}
		if err := compress(text, filepath.Join(folder, page+".gz")); err != nil {
			return fmt.Errorf("compress a man page: %w", err)
		}
	}
	releases, err := b.readChangelog()
	if err != nil {
		return err
	}
	if err := compress(debianChangelog(releases), filepath.Join(folder, debChangelog)); err != nil {
		return fmt.Errorf("compress the changelog: %w", err)
	}
	text, err := b.licenses()
	if err != nil {
		return fmt.Errorf("collect the licenses of the libraries: %w", err)
	}
	return os.WriteFile(filepath.Join(folder, libraryLicenses), text, 0o644)
}

// compress writes a gzip file without a name and a time, so that it has the same bytes each time.
func compress(text []byte, to string) error {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(to, packed.Bytes(), 0o644)
}

// debChangelog is the file with the changes in Debian's form.
const debChangelog = "changelog.gz"

// libraryLicenses is the file with the licenses of the libraries that are linked into the programs:
// these licenses require to be passed on.
const libraryLicenses = "LICENSES.libraries"

func (b *build) licenses() ([]byte, error) {
	folders, err := b.libraries()
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	for _, library := range folders {
		name, folder, _ := strings.Cut(library, "\t")
		found, err := licenseFiles(folder)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s has no license file in %s", name, folder)
		}
		for _, path := range found {
			license, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&text, "==== %s, %s\n\n%s\n\n",
				name, filepath.Base(path), bytes.TrimSpace(license))
		}
	}
	return text.Bytes(), nil
}

// libraries lists "module version<tab>folder" of all modules with packages in the programs,
// including Go's standard library.
func (b *build) libraries() ([]string, error) {
	const each = `{{if .Standard}}{{else}}{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{"\t"}}{{.Dir}}{{end}}{{end}}{{end}}`
	list, err := b.goCommand("list", "-deps", "-f", each, "./cmd/cygnetd", "./cmd/cygnet")
	if err != nil {
		return nil, err
	}
	goroot, err := b.goCommand("env", "GOROOT")
	if err != nil {
		return nil, err
	}
	all := strings.FieldsFunc(list, func(r rune) bool { return r == '\n' })
	all = append(all, "Go's standard library\t"+strings.TrimSpace(goroot))
	slices.Sort(all)
	return slices.Compact(all), nil
}

func (b *build) goCommand(args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = b.root
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+b.arch, "CGO_ENABLED=0")
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, problem.Bytes())
	}
	return string(out), nil
}

// licenseFiles lists the license files of a module, sorted by name. Debian keeps the license of Go
// itself elsewhere.
func licenseFiles(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if e.Type().IsRegular() &&
			(strings.HasPrefix(name, "LICENSE") || strings.HasPrefix(name, "COPYING") ||
				strings.HasPrefix(name, "NOTICE")) {
			found = append(found, filepath.Join(folder, e.Name()))
		}
	}
	return found, nil
}
