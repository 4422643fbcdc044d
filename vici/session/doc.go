// Package session speaks VICI, the protocol of charon's control socket, with a charon that may be
// silent, slow, restarted or overloaded. It knows nothing of what its users want of charon.
//
// A [Session] runs commands, each with a time limit, and streamed lists of any length. A [Link] is
// what a client has with one charon: a session for events, several for commands, and a subscription
// to charon's log while one is needed ([LogSubscription]). A [SilenceWatch] measures how long
// charon leaves requests unanswered.
//
// govici does the encoding. What it does not survive, frameConn keeps away from it.
package session
