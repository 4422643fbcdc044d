package browser

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"cygnet/test/web/recording"
)

// focused describes the element that has the focus: its id, or what it is.
const focused = `(() => {
	const e = document.activeElement;
	if (e.id) return e.id;
	if (e.dataset.peer) return 'router ' + e.dataset.peer;
	const row = e.closest('tr');
	if (row?.dataset.peer) return 'row ' + row.dataset.peer;
	if (row) return 'row ' + row.cells[0].textContent + ' in ' + row.closest('table').id;
	if (e === document.body) return 'nothing';
	return (e.className || e.tagName.toLowerCase()) + ' in ' + e.parentElement.id;
})()`

// ring tells how the element with the focus is marked: the contrast of its outline with the ground,
// or 0 if it has none.
const ring = `(() => {
	let e = document.activeElement;
	if (e.matches('g.router')) e = e.querySelector('circle');
	const style = getComputedStyle(e);
	if (style.outlineStyle === 'none' || parseFloat(style.outlineWidth) < 2) return 0;
	return contrast(parse(style.outlineColor), ground(e));
})()`

// tabbed presses Tab until the focus is at an element that was passed, and returns the elements in
// order. Each must show that it has the focus.
func (p *page) tabbed() (order []string) {
	p.Helper()
	for range 60 {
		p.press(kb.Tab)
		at := value[string](p, focused)
		if at == "nothing" || slices.Contains(order, at) {
			return order
		}
		if c := value[float64](p, measured(ring)); c < 3 {
			p.Errorf("the focus at %s has an outline with a contrast of %.1f, want 3", at, c)
		}
		order = append(order, at)
	}
	p.Errorf("the focus does not come round: %q", order)
	return order
}

// Everything on the page is reached with Tab, in the order in which it is read, and shows the
// focus.
func TestTabOrder(t *testing.T) {
	t.Parallel()
	p := open(t, "spoke1", desk)
	p.to("three direct paths")
	p.await("spoke5 is in the table", has(row(spoke5)))
	order := p.tabbed()
	at := -1
	for _, want := range []string{
		"arrange", "router " + spoke1, "only", "events", "filter", "row " + hub, "row " + spoke2,
		"row " + spoke3, "row " + spoke5, "row 172.16.3.0/24 in shortcuts",
	} {
		n := slices.Index(order, want)
		if n <= at {
			t.Errorf("Tab reaches %q at %d, want it after %d: %q", want, n, at, order)
		}
		at = max(at, n)
	}
	p.as(look{dark: true, width: desk.width, height: desk.height})
	if again := p.tabbed(); len(again) < len(order)-1 {
		t.Errorf("in dark Tab reaches %q, in light %q", again, order)
	}
}

// By keyboard alone: the arrow keys go from router to router, Enter explains, Escape closes and
// gives the focus back, and Shift with Enter explains the way from the router that was chosen
// before.
func TestKeyboardExplainsAPair(t *testing.T) {
	t.Parallel()
	p := open(t, "hub", desk)
	p.to("three direct paths")
	p.await("spoke5 is drawn", has(router(spoke5)))
	p.tabTo("router " + hub)
	ways := p.arrows()
	p.goTo(ways, spoke1)
	p.press(kb.Enter)
	p.explained("the way to spoke1 is explained")
	if got, want := p.lastAsked(), (recording.Pair{Destination: addr(spoke1)}); got != want {
		t.Errorf("Enter asks for %s, want %s", got, want)
	}
	p.press(kb.Escape)
	p.await("the account is closed", `document.querySelector('#explain').hidden`)
	p.await("the focus is back", focused+` === 'router `+spoke1+`'`)
	p.goTo(ways, spoke3)
	p.pressWith(kb.Enter, chromedp.ModifierShift)
	p.explained("the way from spoke1 to spoke3 is explained")
	want := recording.Pair{Destination: addr(spoke3), Source: addr(spoke1)}
	if got := p.lastAsked(); got != want {
		t.Errorf("Shift and Enter ask for %s, want %s", got, want)
	}
	next := value[string](p, `document.querySelector('#explain .next')?.textContent ?? ''`)
	if want := "Send a packet and ask again."; next != want {
		t.Errorf("what can be done is %q, want %q", next, want)
	}
	p.press(kb.Escape)
	p.await("the focus is at spoke3", focused+` === 'router `+spoke3+`'`)

	// The table does the same.
	p.tabTo("row " + spoke2)
	p.press(kb.Enter)
	p.explained("the way to spoke2 is explained")
	if got := p.lastAsked(); got.Destination != addr(spoke2) {
		t.Errorf("Enter in the table asks for %s", got)
	}

	// The form of the account takes any address.
	p.tabTo("explain-to")
	p.pressWith("a", chromedp.ModifierCtrl)
	p.press(spoke4, kb.Enter)
	p.await("the way to spoke4 is explained", fmt.Sprintf(
		`document.querySelector('#explain .verdict')?.textContent.startsWith(%s)`, quote(spoke4)))
}

// On a hub Tab also reaches the paths between the spokes, and Enter explains one.
func TestKeyboardReachesPairs(t *testing.T) {
	t.Parallel()
	p := open(t, "hub", desk)
	p.to("three direct paths")
	p.await("the pairs are there", has(`#pairs tr[data-to="`+spoke3+`"]`))
	p.tabTo("row 172.16.3.10 in pairs")
	p.press(kb.Enter)
	p.explained("the pair is explained")
	want := recording.Pair{Destination: addr("172.16.3.10"), Source: addr(spoke1)}
	if got := p.lastAsked(); got != want {
		t.Errorf("Enter asks for %s, want %s", got, want)
	}
}

// By keyboard the table shows only the routers that are wanted, and the list of events only those
// of the router that is chosen.
func TestKeyboardFilters(t *testing.T) {
	t.Parallel()
	p := open(t, "hub", desk)
	p.to("three direct paths")
	p.await("spoke5 is in the table", has(row(spoke5)))
	p.tabTo("filter")
	p.press("SPOKE3")
	p.await("only spoke3 is in the table", has(row(spoke3))+
		` && document.querySelectorAll('#routers tbody tr').length === 1`)
	p.tabTo("row " + spoke3)
	p.press(kb.Enter)
	p.explained("the way to spoke3 is explained")
	p.press(kb.Escape)
	p.tabTo("only")
	p.press(" ")
	p.await("only the events of spoke3 are there", `(() => {
		const shown = [...document.querySelectorAll('#events li')].filter((e) => !e.hidden);
		return shown.length > 0 && shown.every((e) => e.textContent.includes('spoke3'));
	})()`)
}

// Of a router with several interfaces, the one that is chosen is shown.
func TestKeyboardChoosesTheInterface(t *testing.T) {
	t.Parallel()
	p := open(t, "hub", desk, func(r *recording.Recording) {
		for i := range r.Steps {
			other := r.Steps[i].Status.Interfaces[0]
			other.Name, other.Bindings, other.Peers = "gre2", nil, nil
			r.Steps[i].Status.Interfaces = append(r.Steps[i].Status.Interfaces, other)
		}
	})
	p.to("four spokes are registered")
	p.await("spoke4 is in the table", has(row(spoke4)))
	p.tabTo("interface")
	p.press(kb.ArrowDown)
	p.await("the other interface has no spokes", hasNo(row(spoke4))+" && "+hasNo(router(spoke4)))
	p.press(kb.ArrowUp)
	p.await("the first has them", has(row(spoke4))+" && "+has(router(spoke4)))
}

// Where the page asks for a token, the keyboard gives it, and logs out. A wrong one is told.
func TestKeyboardGivesTheToken(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef0123456789abcdef"
	p := open(t, "hub", look{width: desk.width, height: desk.height, token: token})
	p.await("the page asks for the token", `document.querySelector('#login').open`)
	p.readable("while it asks for the token")
	p.tabTo("token")
	p.press("not this one", kb.Enter)
	p.await("the wrong token is told", `document.querySelector('#login-error').textContent !== ''`)
	p.readable("with the wrong token")
	if value[bool](p, has("#mesh g.router")) {
		t.Error("without the token the page shows routers")
	}
	p.tabTo("token")
	p.press(token, kb.Enter)
	p.await("the page is live", live)
	p.await("the login is closed", `!document.querySelector('#login').open`)
	p.fail(false)
	p.to("four spokes are registered")
	p.await("spoke4 is drawn", has(router(spoke4)))
	p.fail(true)
	p.tabTo("logout")
	p.press(kb.Enter)
	p.await("the page asks again", `document.querySelector('#login').open`)
	p.await("and shows no router", hasNo("#mesh g.router"))
}

// arrows finds out which arrow keys lead from this router to each other one. All must be reached.
func (p *page) arrows() map[string][]string {
	p.Helper()
	p.press(kb.Home)
	ways := map[string][]string{value[string](p, focused): nil}
	for known := 0; known < len(ways); {
		known = len(ways)
		for _, way := range slices.SortedFunc(maps.Values(ways), slices.Compare) {
			for _, k := range []string{kb.ArrowUp, kb.ArrowRight, kb.ArrowDown, kb.ArrowLeft} {
				further := append(slices.Clone(way), k)
				p.press(append([]string{kb.Home}, further...)...)
				if at := value[string](p, focused); ways[at] == nil && len(further) <= known {
					ways[at] = further
				}
			}
		}
	}
	drawn := value[[]string](p, `[...document.querySelectorAll('#mesh g.router')].map((g) =>
		'router ' + g.dataset.peer)`)
	for _, r := range drawn {
		if _, ok := ways[r]; !ok {
			p.Errorf("the arrow keys do not reach %s: %q", r, ways)
		}
	}
	return ways
}

// goTo gives the focus to a router with the arrow keys.
func (p *page) goTo(ways map[string][]string, address string) {
	p.Helper()
	p.press(append([]string{kb.Home}, ways["router "+address]...)...)
	if at := value[string](p, focused); at != "router "+address {
		p.Fatalf("the arrow keys lead to %s, want %s", at, address)
	}
}

// tabTo presses Tab until an element has the focus.
func (p *page) tabTo(wanted string) {
	p.Helper()
	for range 60 {
		if value[string](p, focused) == wanted {
			return
		}
		p.press(kb.Tab)
	}
	p.Fatalf("Tab does not reach %s", wanted)
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }
