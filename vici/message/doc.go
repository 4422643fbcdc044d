// Package message builds and reads the messages of VICI: sections of keys whose values are strings,
// lists of strings, or further sections.
package message
