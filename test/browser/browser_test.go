package browser

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// program is the browser, as Debian's package has it.
const program = "/usr/bin/chromium"

// browser is the context of the browser that all tests have in common. Each test has a profile of
// its own in it.
var browser context.Context

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

// run starts the browser, runs the tests and ends the browser.
func run(m *testing.M) int {
	if _, err := os.Stat(program); err != nil {
		fmt.Fprintf(os.Stderr, "there is no browser: %v; 'make deps' installs it\n", err)
		return 1
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program),
		chromedp.NoSandbox, // Chromium has none for root, as whom continuous integration runs
		// Letters look the same on each machine.
		chromedp.Flag("font-render-hinting", "none"),
		chromedp.Flag("disable-lcd-text", true),
		chromedp.Flag("lang", "en"),
		chromedp.WSURLReadTimeout(soon), // a busy machine starts it slowly
	)
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	defer end()
	var stop context.CancelFunc
	browser, stop = chromedp.NewContext(allocator)
	defer stop()
	agent := chromedp.Evaluate[string]("navigator.userAgent")
	if _, err := chromedp.Run(browser, agent); err != nil {
		fmt.Fprintf(os.Stderr, "start %s: %v\n", program, err)
		return 1
	}
	return m.Run()
}

// watch keeps what the browser reports of a page that must not be.
func (p *page) watch(event any) {
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		p.fault("exception: %v", &chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails})
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError ||
			e.Type == runtime.ConsoleAPICalledTypeWarning ||
			e.Type == runtime.ConsoleAPICalledTypeAssert {
			p.fault("console: %s", arguments(e.Args))
		}
	case *log.EventEntryAdded:
		p.logged(e.Entry)
	case *network.EventRequestWillBeSent:
		if p.origin != "" && !strings.HasPrefix(e.Request.URL, p.origin+"/") {
			p.fault("request to another origin: %s", e.Request.URL)
		}
	}
}

// logged takes an entry of the browser's own log. That a request failed is a fault unless the test
// has the daemon or the server of the page gone.
func (p *page) logged(e *log.Entry) {
	if e.Level != log.EntryLevelError && e.Level != log.EntryLevelWarning {
		return
	}
	p.mu.Lock()
	expected := p.failing && e.Source == log.EntrySourceNetwork
	p.mu.Unlock()
	if !expected {
		p.fault("log: %s %s", e.Text, e.URL)
	}
}

// arguments returns what was written to the console.
func arguments(list []*runtime.RemoteObject) string {
	var words []string
	for _, a := range list {
		words = append(words, strings.TrimSpace(string(a.Value)+" "+a.Description))
	}
	return strings.Join(words, " ")
}
