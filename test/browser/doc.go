// Package browser has the tests of the web page in a real browser: headless Chromium, which opens
// the page of package web over a recording that TestRecordedMesh of the lab made (test/web).
// Nothing depends on the time of day or on how fast the machine is: a test steps through the
// recording and awaits what the page shows.
//
// The tests are a module of their own, so that what drives the browser is no dependency of the
// daemon's.
package browser
