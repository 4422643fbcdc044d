package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	pages "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/web"
	"cygnet/test/web/recording"
	"cygnet/test/web/replay"
)

// soon is how long a test awaits what the page shows: far longer than it takes.
const soon = 60 * time.Second

// page is the web page of a router, open in the browser, over a recording.
type page struct {
	*testing.T
	*replay.Server
	ctx    context.Context
	origin string
	served func() // ends the server of the page

	mu      sync.Mutex // guards what follows
	failing bool       // requests fail, as the test wants it
	faults  []string
}

// look is how a page is looked at.
type look struct {
	dark          bool
	width, height int64
	token         string // that the page asks for; empty: none
}

// desk is the usual way to look at a page.
var desk = look{width: 1280, height: 900}

// open opens the page of a router as the recording begins. At the end of the test nothing may have
// gone wrong: no error on the console, no violation of the content security policy, no request to
// another origin, and no order to the daemon.
func open(t *testing.T, router string, l look, changes ...func(*recording.Recording)) *page {
	t.Helper()
	made, err := recording.ReadFile(filepath.Join("..", "web", "testdata", router+".ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		change(made)
	}
	dir, err := os.MkdirTemp("", "page") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	p := &page{T: t}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "api.sock")
	if p.Server, err = replay.Start(socket, made); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	p.serve(socket, l.token)
	var end context.CancelFunc
	p.ctx, end = chromedp.NewContext(browser, chromedp.WithNewBrowserContext(),
		chromedp.WithListener(p.watch))
	t.Cleanup(end)
	t.Cleanup(p.verdict)
	if _, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`document.title`)); err != nil {
		t.Fatalf("open a tab: %v", err) // the tab lives as long as the context of the first command
	}
	p.as(l)
	p.fail(l.token != "") // without the token requests are refused
	do(p, chromedp.Navigate(p.origin+"/"))
	if l.token == "" {
		p.await("the page is live", live)
	}
	return p
}

// serve serves the page.
func (p *page) serve(socket, token string) {
	p.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.Fatal(err)
	}
	p.origin = "http://" + l.Addr().String()
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	handler := web.Handler(web.Options{Client: api.Dial(socket), Token: token, Log: log})
	go func() { ended <- web.Serve(ctx, l, handler, log) }()
	p.served = sync.OnceFunc(func() {
		end()
		if err := <-ended; err != nil {
			p.Error(err)
		}
	})
	p.Cleanup(p.served)
}

// as has the page looked at in a way, in UTC, and without motion.
func (p *page) as(l look) {
	p.Helper()
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme},
			{Name: "prefers-reduced-motion", Value: "reduce"},
		},
	})
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: l.width, Height: l.height, DeviceScaleFactor: 1,
	})
	call(p, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "UTC"})
	call(p, emulation.SetFocusEmulationEnabled,
		emulation.SetFocusEmulationEnabledParams{Enabled: true})
	call(p, pages.AddScriptToEvaluateOnNewDocument, pages.AddScriptToEvaluateOnNewDocumentParams{
		Source: violations,
	})
}

// violations keeps violations of the content security policy, which not all browsers log.
const violations = `window.violations = [];
document.addEventListener('securitypolicyviolation', (e) => {
	window.violations.push(e.violatedDirective + ' ' + e.blockedURI + ' ' + e.sourceFile);
});`

// verdict fails the test if anything was wrong with the page.
func (p *page) verdict() {
	var blocked []string
	if !p.Failed() {
		blocked = value[[]string](p, `window.violations`)
	}
	for _, b := range blocked {
		p.fault("violation of the content security policy: %s", b)
	}
	if orders := p.Orders(); len(orders) > 0 {
		p.fault("the page had the daemon do %q", orders)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		p.Errorf("%s", f)
	}
}

// fault keeps that something is wrong with the page.
func (p *page) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

// fail has requests fail as the test wants it, or no longer.
func (p *page) fail(expected bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failing = expected
}

// do has the browser do something with the page.
func do[T any](p *page, action chromedp.Action[T]) T {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, soon)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		p.Fatalf("%v", err)
	}
	return v
}

// value returns the value of an expression in the page.
func value[T any](p *page, expression string) T {
	p.Helper()
	return do(p, chromedp.Evaluate[T](expression))
}

// await waits until an expression in the page is true. It looks before each frame that the browser
// draws. If the time is over, it fails the test and shows the text of the page.
func (p *page) await(what, condition string) {
	p.Helper()
	expression := fmt.Sprintf(`(async () => {
		const end = performance.now() + %d;
		let thrown = '';
		const holds = () => {
			try {
				return %s;
			} catch (e) { // the page is being loaded
				thrown = e + '\n';
				return false;
			}
		};
		while (!holds()) {
			if (performance.now() > end) return thrown + document.body.innerText;
			await new Promise((frame) => requestAnimationFrame(frame));
		}
		return '';
	})()`, (soon - 5*time.Second).Milliseconds(), condition)
	ctx, cancel := context.WithTimeout(p.ctx, soon)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression, chromedp.EvalAwaitPromise))
	for err != nil && reloaded(err) {
		text, err = chromedp.Run(ctx,
			chromedp.Evaluate[string](expression, chromedp.EvalAwaitPromise))
	}
	if err != nil {
		p.Fatalf("wait for: %s (%s): %v", what, condition, err)
	}
	if text != "" {
		p.Fatalf("waited for: %s (%s); the page has the text\n%s", what, condition, text)
	}
}

// reloaded reports whether a script ended because its page was loaded anew.
func reloaded(err error) bool {
	return strings.Contains(err.Error(), "navigated or closed") ||
		strings.Contains(err.Error(), "context was destroyed") ||
		strings.Contains(err.Error(), "Cannot find context")
}

// to shows the steps of the recording up to one, and awaits that the page shows that one.
func (p *page) to(note string) {
	p.Helper()
	if err := p.To(note); err != nil {
		p.Fatal(err)
	}
	p.await(note+": the last event is there", fmt.Sprintf(
		`document.querySelector('#events li[data-number="%d"]')`, p.Last()))
}

// quote returns a text as a literal of JavaScript.
func quote(text string) string {
	literal, err := json.Marshal(text)
	if err != nil {
		panic(err) // a text is always possible
	}
	return string(literal)
}
