// Package filewatch compares the configuration that a daemon runs with that in its file.
package filewatch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/config/difference"
	"cygnet/nhrpd/problem"
	"cygnet/nhrpd/wait"
)

// Interval is how often Run compares the running configuration with the file.
const Interval = 15 * time.Second

// Watch reports a problem while the file, or a secret that it names, differs from the running
// configuration: nobody has reloaded it yet, or the next start will not have what the daemon has
// now.
type Watch struct {
	Path string // of the file
	// Running returns the running configuration as it was read from the file. The watch only reads
	// it. Running is called on the goroutine of Run.
	Running  func() *config.Config
	Problems *problem.List
}

// Run compares the two every Interval until the context ends. It returns nil.
func (w *Watch) Run(ctx context.Context) error {
	for wait.For(ctx, Interval) {
		w.check()
	}
	return nil
}

// check compares the running configuration with the file once.
func (w *Watch) check() {
	text := w.differences()
	if text == "" {
		w.Problems.Resolve(problem.Key{Code: api.ProblemFileDiffers, Subject: w.Path})
		return
	}
	w.Problems.Report(api.Problem{
		Code:     api.ProblemFileDiffers,
		Severity: api.SeverityWarning,
		Subject:  w.Path,
		Text:     "the running configuration differs from the file: " + text,
		Remedy:   "cygnet reload --dry-run tells what a reload changes, cygnet reload applies it",
	})
}

// differences returns how the file differs from the running configuration, in words; "" if it does
// not.
func (w *Watch) differences() string {
	next, err := config.Load(w.Path)
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return "the daemon would not start with it: " + first
	}
	running := w.Running()
	var different []string
	for i := range next.Interfaces {
		ifc := &next.Interfaces[i]
		switch of := interfaceOf(running, ifc.Name); {
		case of == nil:
			different = append(different, ifc.Name+" is not there yet")
		default:
			if list := difference.Between(of, ifc); len(list) > 0 {
				different = append(different, ifc.Name+": "+keysOf(list))
			}
		}
	}
	for i := range running.Interfaces {
		if name := running.Interfaces[i].Name; interfaceOf(next, name) == nil {
			different = append(different, name+" is there still")
		}
	}
	return strings.Join(different, "; ")
}

// interfaceOf returns the interface of a configuration that has the name, or nil.
func interfaceOf(c *config.Config, name string) *config.Interface {
	i := slices.IndexFunc(c.Interfaces, func(ifc config.Interface) bool { return ifc.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Interfaces[i]
}

// most is how many keys a problem names.
const most = 4

// keysOf names the keys of some changes.
func keysOf(list []difference.Change) string {
	var keys []string
	for i, c := range list {
		if i == most {
			keys = append(keys, fmt.Sprintf("%d more", len(list)-most))
			break
		}
		keys = append(keys, c.Key)
	}
	return strings.Join(keys, ", ")
}
