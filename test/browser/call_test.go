package browser

import (
	"context"
	"fmt"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// call sends a command of the browser's protocol and returns the answer.
func call[P, R any](p *page, command cdp.Command[P, R], parameters P) R {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, soon)
	defer cancel()
	r, err := chromedp.Call(ctx, command, parameters)
	if err != nil {
		p.Fatalf("%s: %v", command.Method, err)
	}
	return r
}

// click clicks with the mouse in the middle of an element.
func (p *page) click(selector string) {
	p.Helper()
	p.clickAt(value[[]float64](p, fmt.Sprintf(`(() => {
		const e = document.querySelector(%s);
		e.scrollIntoView({ block: 'center', behavior: 'instant' });
		const b = e.getBoundingClientRect();
		return [b.x + b.width / 2, b.y + b.height / 2];
	})()`, quote(selector))))
}

// clickPath clicks with the mouse on the middle of a line of the drawing.
func (p *page) clickPath(selector string) {
	p.Helper()
	p.clickAt(value[[]float64](p, fmt.Sprintf(`(() => {
		const e = document.querySelector(%s);
		e.scrollIntoView({ block: 'center', behavior: 'instant' });
		const at = e.getPointAtLength(e.getTotalLength() / 2).matrixTransform(e.getScreenCTM());
		return [at.x, at.y];
	})()`, quote(selector))))
}

// clickAt clicks with the mouse at a point.
func (p *page) clickAt(at []float64) {
	p.Helper()
	for _, kind := range []input.DispatchMouseEventType{
		input.DispatchMouseEventTypeMousePressed, input.DispatchMouseEventTypeMouseReleased,
	} {
		call(p, input.DispatchMouseEvent, input.DispatchMouseEventParams{
			Type: kind, X: at[0], Y: at[1], Button: input.MouseButtonLeft, ClickCount: 1,
		})
	}
}

// press presses keys, one after the other. What a key types belongs to its key-down event, as with
// a keyboard: so a page that takes the key keeps it from typing.
func (p *page) press(keys ...string) {
	p.Helper()
	for _, k := range keys {
		p.pressWith(k, 0)
	}
}

// pressWith presses keys together with modifiers.
func (p *page) pressWith(keys string, modifiers chromedp.Modifier) {
	p.Helper()
	for _, r := range keys {
		events := kb.Encode(r)
		down, up := *events[0], *events[len(events)-1]
		if len(events) == 3 && modifiers&^chromedp.ModifierShift == 0 {
			down.Text, down.UnmodifiedText = events[1].Text, events[1].UnmodifiedText
		}
		down.Modifiers |= int64(modifiers)
		up.Modifiers |= int64(modifiers)
		down.Type = input.DispatchKeyEventTypeKeyDown
		call(p, input.DispatchKeyEvent, down)
		call(p, input.DispatchKeyEvent, up)
	}
}
