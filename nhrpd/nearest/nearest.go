// Package nearest finds the word that somebody probably meant who wrote another one.
package nearest

import "strings"

// Word returns the candidate that a user most likely meant by word: one that differs from it by
// few edits, or one that is a prefix of it or has it as a prefix. It returns "" if no candidate is
// near.
func Word(word string, candidates []string) string {
	const longest, shortest = 64, 3
	if len(word) > longest {
		return ""
	}
	best, distance := "", 1+max(1, len(word)/3)
	for _, c := range candidates {
		d := editDistance(word, c)
		if min(len(word), len(c)) >= shortest &&
			(strings.HasPrefix(word, c) || strings.HasPrefix(c, word)) {
			d = min(d, 1)
		}
		if d < distance {
			best, distance = c, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of neighbours that turn a
// into b.
func editDistance(a, b string) int {
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j]+cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
