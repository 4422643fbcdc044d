package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"cygnet/nhrpd/config/document"
	"cygnet/nhrpd/config/hostfile"
	"cygnet/nhrpd/config/secret"
)

// Load reads the configuration file, the further files in the folder conf.d beside it, and the
// secrets that they name, and checks everything. If
// anything is wrong, it returns no Config, and the error joins a *[Problem] for each fault. If a
// file cannot be opened, the error wraps the system's error.
func Load(path string) (*Config, error) {
	c, err := LoadFaulty(path)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// LoadFaulty is like Load, for callers that have to use as much of a faulty file as possible. It
// may return a Config together with the error; every faulty value in it is the default or zero. It
// returns no Config if the file does not exist or is not TOML.
func LoadFaulty(path string) (*Config, error) {
	names := []string{path}
	further, err := furtherFiles(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	var texts []document.File
	var files []*hostfile.File
	for _, name := range append(names, further...) {
		f, err := hostfile.Read(name)
		if err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
		texts = append(texts, document.File{Name: name, Data: f.Data})
		files = append(files, f)
	}
	c := &checker{read: hostfile.Read, legacyConf: "/etc/ipsec.conf"}
	return c.parse(texts, files)
}

// furtherFiles lists the further files of a configuration, in the order of their names: those in
// the folder conf.d beside it whose names end in ".toml" and do not begin with a dot.
func furtherFiles(path string) ([]string, error) {
	folder := filepath.Join(filepath.Dir(path), "conf.d")
	entries, err := os.ReadDir(folder) // sorted
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name := e.Name(); filepath.Ext(name) == ".toml" && !strings.HasPrefix(name, ".") {
			names = append(names, filepath.Join(folder, name))
		}
	}
	return names, nil
}

// Files returns the files of the configuration at a path: that file, and those in conf.d beside it.
func Files(path string) ([]string, error) {
	further, err := furtherFiles(path)
	return append([]string{path}, further...), err
}

// WithoutSecrets returns a file of the configuration for the eyes of others; see
// [document.WithoutSecrets].
func WithoutSecrets(data []byte) ([]byte, error) {
	return document.WithoutSecrets(data, &rawFile{})
}

// Secrets returns the secrets that the configuration has or names.
func (c *Config) Secrets() []secret.Secret {
	var all []secret.Secret
	for i := range c.Interfaces {
		all = append(all, c.Interfaces[i].Authentication)
		if s := c.Interfaces[i].IPsec; s != nil {
			all = append(all, s.PSK)
		}
	}
	return all
}

// Parse does what [Load] does, with data as the content of the file. It opens no other file:
// secrets that the configuration takes from files stay empty. The name stands for the file in
// messages.
func Parse(data []byte, name string) (*Config, error) {
	cfg, err := new(checker).parse([]document.File{{Name: name, Data: data}}, nil)
	if err != nil {
		return nil, err
	}
	return cfg, nil
}

// Problem is one fault in a configuration file. The error of [Load] or [Parse] is one Problem or
// several joined: those in the configuration in the order of the file, then those in swanctl.conf
// and the files that it includes.
type Problem = document.Problem

// checker checks what a document says, and adds to it what is wrong.
type checker struct {
	*document.Document

	// read reads files that the configuration names; nil: they are not opened
	read       func(path string) (*hostfile.File, error)
	legacyConf string // path of ipsec.conf
	obstacles  []string
}

// parse checks the texts of the configuration. They were read from the files of, in the same order;
// of is empty if there are no files. parse may return a configuration together with an error, see
// [LoadFaulty].
func (c *checker) parse(texts []document.File, of []*hostfile.File) (*Config, error) {
	var raw rawFile
	read, err := document.ReadFiles(texts, &raw)
	if err != nil {
		return nil, err
	}
	c.Document = read
	for i, f := range of {
		c.checkAccess(texts[i].Name, f, &raw)
	}

	cfg := &Config{Daemon: c.daemon(&raw.Daemon), Log: c.log(&raw.Log)}
	for _, name := range slices.Sorted(maps.Keys(raw.Interface)) {
		in := raw.Interface[name]
		cfg.Interfaces = append(cfg.Interfaces, c.iface(name, &in))
	}
	clashes{c.Document}.among(cfg.Interfaces)
	if len(cfg.Interfaces) == 0 {
		c.Warn(nil, "there is no [interface.NAME] table: the daemon has nothing to do")
	}
	cfg.Warnings, cfg.Obstacles = c.Warnings, c.obstacles
	return cfg, c.Err()
}
