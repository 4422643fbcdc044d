// Package output has what follows from the events that an engine takes: actions, which happen once,
// and wanted state, which must hold until it changes.
package output
