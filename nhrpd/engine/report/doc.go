// Package report has copies of an engine's state: for the status that people and programs read, and
// for what outlives a restart.
package report
