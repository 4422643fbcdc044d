// Package ratelimit bounds what one router, and all routers together, may cost: by tokens in a
// time, and by parts of a table. The section "Rates" of doc/threat-model.md lists what the
// engine limits by it.
//
// RFC 2332 sets no rates. It says that requests of rogue hosts may overload an NHS (§8), and
// these limits are this implementation's answer.
//
// # Keys and bounds
//
// Limits are kept for keys of any comparable type. The engine's keys are routers: the identity
// that IKE proved, or without IPsec the NBMA address. Each type is bounded, whatever keys there
// are:
//
//	type     bounded by                                   what happens when it is full
//	Limiter  the number of keys that New is given         newcomers share one further bucket
//	Budget   the same, for its two limiters by key        the same; the total holds in any case
//	Recent   what its caller adds in twice the period     nothing is turned away: the caller
//	                                                      adds only what a limit let through
//	Shares   its caller's table, at most an entry a row   the caller compares the count with
//	                                                      what one key may have, and refuses
//
// Nothing here reads a clock, or does anything by itself: callers say what time it is, and all
// times must come from one clock. Methods of one value must not run at the same time.
package ratelimit
