package main

import (
	"fmt"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/health"
)

// mostProblems of one kind are listed for one interface; a hub may have thousands of peers that
// do not answer.
const mostProblems = 10

// problems writes what the daemon found wrong, errors and warnings apart.
func (in *invocation) problems(all []api.Problem) {
	in.bullets("WRONG", problemLines(all, api.SeverityError))
	in.bullets("WARNING", problemLines(all, api.SeverityWarning))
}

// problemLines writes the problems of one severity, and counts those that are too many of one kind.
func problemLines(all []api.Problem, severity api.Severity) []string {
	type kind struct {
		code  api.ProblemCode
		iface string
	}
	count := map[kind]int{}
	for i := range all {
		if all[i].Severity == severity {
			count[kind{all[i].Code, all[i].Interface}]++
		}
	}
	var lines []string
	seen := map[kind]int{}
	for i := range all {
		p := &all[i]
		if p.Severity != severity {
			continue
		}
		k := kind{p.Code, p.Interface}
		switch seen[k]++; {
		case seen[k] <= mostProblems:
			lines = append(lines, problemLine(p))
		case seen[k] == count[k]:
			lines = append(lines, about(p)+fmt.Sprintf("and %d more of this kind", count[k]-mostProblems))
		}
	}
	return lines
}

func problemLine(p *api.Problem) string {
	if p.Remedy == "" {
		return about(p) + p.Text
	}
	return about(p) + p.Text + "; " + p.Remedy
}

// about names the interface that a problem is of, if it is of one.
func about(p *api.Problem) string {
	if p.Interface == "" {
		return ""
	}
	return p.Interface + ": "
}

// outcome is the exit code of a command that was carried out and found something.
type outcome int

func (outcome) Error() string { return "" }

// verdictOf turns problems into the exit code of status.
func verdictOf(all []api.Problem) error {
	switch health.Worst(all) {
	case "":
		return nil
	case api.SeverityError:
		return outcome(exitWrong)
	}
	return outcome(exitWarning)
}
