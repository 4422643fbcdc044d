package browser

import (
	"fmt"
	"strings"
	"testing"

	"cygnet/test/web/recording"
)

// Identities are what other routers chose. Whatever is in one is text on the page, in its line and
// in its direction.
func TestHostileIdentities(t *testing.T) {
	t.Parallel()
	identities := map[string]string{
		"spoke1": `<script>window.hostile = 1</script><img src=x onerror="window.hostile = 1">`,
		"spoke2": `</title></svg><iframe src="https://192.0.2.66/"></iframe>`,
		"spoke3": strings.Repeat("long", 500),
		"spoke4": "\u202egnp.evil\u202c \u05d0\u05d1\u05d2 \u0627\u0644\u0639",
		"spoke5": "\x00\x1b[2Jcontrol\r\n\u2028next",
		"spoke6": `javascript:window.hostile=1`,
	}
	p := open(t, "hub", desk, func(r *recording.Recording) {
		for name, identity := range identities {
			if err := r.Replace(name+".example.net", identity); err != nil {
				t.Fatal(err)
			}
		}
	})
	p.to("a spoke is refused")
	for _, spoke := range []string{spoke1, spoke2, spoke3, spoke4, spoke5} {
		p.await(spoke+" is in the table", has(row(spoke)))
		p.await(spoke+" is drawn", has(router(spoke)))
	}
	for name, address := range map[string]string{"spoke1": spoke1, "spoke2": spoke2} {
		text := value[string](p,
			fmt.Sprintf(`document.querySelector(%s).textContent`, quote(row(address))))
		if want := identities[name]; !strings.Contains(text, want) {
			t.Errorf("the row of %s has %q, want the text %q", name, text, want)
		}
	}
	p.click(router(spoke1) + " circle")
	p.explained("the way to spoke1 is explained")
	steps := value[string](p, `document.querySelector('#explain .steps').textContent`)
	if want := identities["spoke1"]; !strings.Contains(steps, want) {
		t.Errorf("the account has %q, want the text %q", steps, want)
	}
	if n := value[int](p, `window.hostile ?? 0`); n != 0 {
		t.Error("an identity was run as a script")
	}
	if list := value[[]string](p, `[...document.querySelectorAll('body script, iframe, img, svg svg')]
		.map((e) => e.outerHTML.slice(0, 60))`); len(list) > 0 {
		t.Errorf("identities became elements: %q", list)
	}
	// A text that turns its direction must not turn what is around it, and no text is endless.
	if list := value[[]string](p, `[...document.querySelectorAll('body *')]
		.flatMap((e) => [...e.childNodes].filter((n) => n.nodeType === Node.TEXT_NODE)
			.map((n) => n.textContent).concat([...e.attributes].map((a) => a.value)))
		.filter((text) => /[\u0000-\u0008\u000b-\u001f\u200e\u200f\u202a-\u202e\u2066-\u2069]/.test(text) ||
			text.length > 1200).map((text) => text.slice(0, 80))`); len(list) > 0 {
		t.Errorf("texts turn their direction, have control characters or are endless: %q", list)
	}
	if n := value[float64](p, wide); n > 0 {
		t.Errorf("the page is %v pixels wider than the window", n)
	}
}
