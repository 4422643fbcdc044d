package browser

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// colors are functions in the page that measure contrast as WCAG 2.2 defines it: parse reads a
// computed color, ground returns what is behind an element, contrast compares two colors.
const colors = `
const parse = (text) => {
	const n = text.match(/[\d.]+/g).map(Number);
	return { rgb: n.slice(0, 3), a: n[3] ?? 1 };
};
const over = (top, below, a) => top.map((v, k) => v * a + below[k] * (1 - a));
const ground = (e) => {
	let rgb = [255, 255, 255];
	const around = [];
	for (let x = e; x; x = x.parentElement) around.unshift(x);
	for (const x of around) {
		const c = parse(getComputedStyle(x).backgroundColor);
		rgb = over(c.rgb, rgb, c.a);
	}
	return { rgb, a: 1 };
};
const opacity = (e) => e ? Number(getComputedStyle(e).opacity) * opacity(e.parentElement) : 1;
const light = ({ rgb }) => rgb.map((v) => v / 255)
	.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
	.reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
const contrast = (a, b) => {
	const [x, y] = [light(a), light(b)];
	return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
};
`

// measured returns an expression in which the functions of colors can be used.
func measured(expression string) string {
	return "(() => {" + colors + "return (" + expression + ");})()"
}

// pale lists the texts of the page whose contrast is less than WCAG AA wants: 4.5, or 3 for large
// text. Lines of the drawing and of the legend need 3.
const pale = `(() => {
	const found = new Set();
	const check = (e, color, want, what) => {
		const below = ground(e);
		const c = parse(color);
		const shown = { rgb: over(c.rgb, below.rgb, c.a * opacity(e)) };
		const got = contrast(shown, below);
		if (got < want) found.add(what.slice(0, 40) + ': ' + got.toFixed(2) + ', want ' + want);
	};
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (texts.nextNode()) {
		const e = texts.currentNode.parentElement;
		const text = texts.currentNode.textContent.trim();
		if (!text || !e.checkVisibility({ visibilityProperty: true }) ||
			e.closest('title, option, script, noscript, .hidden, .skip')) continue;
		const style = getComputedStyle(e);
		const size = parseFloat(style.fontSize);
		const large = size >= 24 || size >= 18.66 && Number(style.fontWeight) >= 700;
		const color = e instanceof SVGElement ? style.fill : style.color;
		check(e, color, large ? 3 : 4.5, text);
	}
	for (const e of document.querySelectorAll('.path:not([data-kind=gone])')) {
		check(e, getComputedStyle(e).stroke, 3, 'path ' + e.dataset.kind);
	}
	for (const e of document.querySelectorAll('input')) {
		if (e.checkVisibility()) check(e, getComputedStyle(e).color, 4.5, 'input ' + e.id);
		if (!e.placeholder || !e.checkVisibility()) continue;
		check(e, getComputedStyle(e, '::placeholder').color, 4.5, 'placeholder of ' + e.id);
	}
	return [...found];
})()`

// readable fails the test for each text that is too pale.
func (p *page) readable(when string) {
	p.Helper()
	if faults := value[[]string](p, measured(pale)); len(faults) > 0 {
		p.Errorf("%s: %d texts have too little contrast, such as\n%s", when, len(faults),
			strings.Join(faults[:min(5, len(faults))], "\n"))
	}
}

// In light and in dark each text has the contrast that WCAG AA wants: with problems, with an
// account and while the daemon is gone.
func TestContrast(t *testing.T) {
	for name, l := range map[string]look{
		"light": desk, "dark": {dark: true, width: desk.width, height: desk.height},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := open(t, "spoke1", l)
			p.readable("at first")
			p.to("three direct paths")
			p.await("spoke5 is in the table", has(row(spoke5)))
			p.readable("with direct paths")
			p.to("a direct path fails")
			p.await("the problem is there", has(`#problems li`))
			p.click(row(spoke2) + " button")
			p.explained("the way to spoke2 is explained")
			p.readable("with a problem and an account")
			p.press(kb.Escape)
			p.fail(true)
			if err := p.Stop(); err != nil {
				t.Fatal(err)
			}
			p.await("the daemon is gone", gone)
			p.readable("while the daemon is gone")
		})
	}
}

// The page follows the scheme that the browser wants, also when that changes.
func TestLightAndDark(t *testing.T) {
	t.Parallel()
	p := open(t, "hub", desk)
	ground := measured(`light(ground(document.querySelector('#problems')))`)
	if l := value[float64](p, ground); l < 0.5 {
		t.Errorf("in light the ground has a luminance of %.2f", l)
	}
	p.as(look{dark: true, width: desk.width, height: desk.height})
	p.await("the ground is dark", ground+" < 0.2")
}

// wide is how many pixels the page is wider than the window.
const wide = `document.scrollingElement.scrollWidth - document.documentElement.clientWidth`

// In a window of 360 pixels the page does not scroll sideways, whatever it shows, and all of an
// account can be read.
func TestNarrowWindow(t *testing.T) {
	t.Parallel()
	p := open(t, "hub", look{width: 360, height: 740})
	narrow := func(when string) {
		t.Helper()
		if n := value[float64](p, wide); n > 0 {
			t.Errorf("%s: the page is %v pixels wider than the window", when, n)
		}
	}
	narrow("at first")
	p.to("a spoke is refused")
	p.await("the problem is there", has(`#problems li`))
	narrow("with a problem")
	p.click(router(spoke2) + " circle")
	p.explained("the way to spoke2 is explained")
	narrow("with an account")
	if n := value[float64](p, `(() => {
		const e = document.querySelector('#explain');
		return e.scrollWidth - e.clientWidth;
	})()`); n > 0 {
		t.Errorf("the account is %v pixels wider than its panel", n)
	}
}
