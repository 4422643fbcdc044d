package main

import (
	"fmt"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/health"
)

// maxProblems is how many problems of one kind are listed for one interface. A hub may have
// thousands of peers that do not answer.
const maxProblems = 10

// problems writes what the daemon found wrong, first the errors, then the warnings.
func (in *invocation) problems(all []api.Problem) {
	in.bullets("WRONG", problemLines(all, api.SeverityError))
	in.bullets("WARNING", problemLines(all, api.SeverityWarning))
}

// problemLines returns the problems of one severity. Where there are too many of one kind, it
// counts the rest.
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
		case seen[k] <= maxProblems:
			lines = append(lines, problemLine(p))
		case seen[k] == count[k]:
			lines = append(lines,
				about(p)+fmt.Sprintf("and %d more of this kind", count[k]-maxProblems))
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

// about returns the interface of a problem, as the beginning of a line; "" if the problem has none.
func about(p *api.Problem) string {
	if p.Interface == "" {
		return ""
	}
	return p.Interface + ": "
}

// outcome is an error that is only the exit code of a command that was carried out and found
// something.
type outcome int

func (outcome) Error() string { return "" }

// verdictOf returns the outcome of status for these problems.
func verdictOf(all []api.Problem) error {
	switch health.Worst(all) {
	case "":
		return nil
	case api.SeverityError:
		return outcome(exitWrong)
	}
	return outcome(exitWarning)
}
