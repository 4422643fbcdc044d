package browser

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	pages "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	gocmp "github.com/google/go-cmp/cmp"
)

// The pictures in the documentation, and the lists of what is on them, are made anew by
//
//	cd test/browser && go test -run TestPictures . -update
var update = flag.Bool("update", false, "make the pictures of the documentation anew")

const (
	pictures   = "../../doc/pictures"
	largest    = 150_000 // bytes of a picture
	mostColors = 256
)

// The pictures of the documentation show what the page shows. They are not compared by their
// pixels, which depend on the version of the browser: each has to have the size that it would have
// now, and the texts that would be on it now. Figures that grow with time do not count.
func TestPictures(t *testing.T) {
	for _, c := range []struct {
		name, router string
		dark         bool
		explain      string // the router that is chosen
	}{
		{"web-hub-light", "hub", false, ""},
		{"web-hub-dark", "hub", true, ""},
		{"web-spoke-light", "spoke1", false, spoke3},
		{"web-spoke-dark", "spoke1", true, spoke3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := open(t, c.router, look{dark: c.dark, width: 1280, height: 860})
			p.to("a direct path comes")
			p.await("spoke3 is there, so that its rate is known next", has(row(spoke3)))
			p.to("three direct paths")
			p.await("spoke5 is there", has(row(spoke5)))
			p.await("all paths are there", fmt.Sprintf(
				`document.querySelectorAll('#mesh .path:is(%s)').length === 3`,
				`[data-kind="asked"], [data-kind="direct"]`))
			if c.explain != "" {
				p.click(row(c.explain) + " button")
				p.explained("the way there is explained")
				do(p, chromedp.Evaluate[chromedp.Void](`document.activeElement.blur()`))
			}
			do(p, chromedp.Evaluate[chromedp.Void](`scrollTo(0, 0)`))
			p.picture(c.name)
		})
	}
}

// picture compares what the page shows with a picture or, with -update, makes the picture.
func (p *page) picture(name string) {
	p.Helper()
	shot := call(p, pages.CaptureScreenshot, pages.CaptureScreenshotParams{}).Data
	text := strings.Join(value[[]string](p, visible), "\n") + "\n"
	text = figures.ReplaceAllString(text, "#")
	path := filepath.Join(pictures, name+".png")
	list := filepath.Join("testdata", name+".txt")
	if *update {
		p.write(path, small(p, shot))
		p.write(list, []byte(text))
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		p.Fatal(err)
	}
	if len(kept) > largest {
		p.Errorf("%s has %d bytes, allowed are %d", path, len(kept), largest)
	}
	if want, got := size(p, kept), size(p, shot); want != got {
		p.Errorf("%s has the size %s, it would now have %s", path, want, got)
	}
	was, err := os.ReadFile(list)
	if err != nil {
		p.Fatal(err)
	}
	if diff := gocmp.Diff(strings.Split(string(was), "\n"), strings.Split(text, "\n")); diff != "" {
		p.Errorf("what %s shows is not what the page shows; 'go test . -update' in test/browser "+
			"makes it anew; then look at it: picture (-), page (+):\n%s", path, diff)
	}
}

// visible lists the texts that are in the window, in the order of the document. Rates and times in
// tables are left out: they come with the second look at the SAs. The paths of the drawing are
// added.
const visible = `(() => {
	const list = [];
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (texts.nextNode()) {
		const e = texts.currentNode.parentElement;
		const text = texts.currentNode.textContent.trim().replace(/\s+/g, ' ');
		if (!text || !e.checkVisibility() ||
			e.closest('title, option, td.number, .hidden, .skip')) continue;
		const box = e.getBoundingClientRect();
		if (box.top >= innerHeight || box.bottom <= 0 || box.left >= innerWidth) continue;
		list.push(text);
	}
	const paths = [...document.querySelectorAll('#mesh .path')].map(({ dataset: d }) =>
		[d.from, 'to', d.to, d.kind, d.nat && 'NAT'].filter(Boolean).join(' '));
	list.push(...paths.sort());
	return list;
})()`

// figures are times and counts, which grow while the page is looked at.
var figures = regexp.MustCompile(
	`\b\d+(\.\d+)?( ([kMG]?bit/s|[KMG]iB|B)|(d\d+h|h\d+m|m\d+s|[smhd]))\b|\b0 in, 0 out`)

// write writes a file.
func (p *page) write(path string, data []byte) {
	p.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		p.Fatal(err)
	}
}

// size returns the size of a picture.
func size(p *page, picture []byte) image.Point {
	p.Helper()
	c, err := png.DecodeConfig(bytes.NewReader(picture))
	if err != nil {
		p.Fatal(err)
	}
	return image.Pt(c.Width, c.Height)
}

// small returns a picture with few colors, as the smallest PNG.
func small(p *page, picture []byte) []byte {
	p.Helper()
	shown, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		p.Fatal(err)
	}
	few := image.NewPaletted(shown.Bounds(), paletteOf(shown))
	draw.Draw(few, few.Bounds(), shown, image.Point{}, draw.Src)
	var b bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&b, few); err != nil {
		p.Fatal(err)
	}
	return b.Bytes()
}

// paletteOf returns the colors that a picture has most, and that are not nearly one that is taken:
// so that a color that only a thin line has is among them.
func paletteOf(picture image.Image) color.Palette {
	counts := map[color.NRGBA]int{}
	for y := range picture.Bounds().Dy() {
		for x := range picture.Bounds().Dx() {
			counts[color.NRGBAModel.Convert(picture.At(x, y)).(color.NRGBA)]++
		}
	}
	often := slices.SortedFunc(maps.Keys(counts), func(a, b color.NRGBA) int {
		return cmp.Or(counts[b]-counts[a], int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B))
	})
	palette := color.Palette{}
	for _, c := range often {
		if len(palette) < mostColors && !slices.ContainsFunc(palette, near(c)) {
			palette = append(palette, c)
		}
	}
	return palette
}

// near matches the colors that the eye hardly tells from c.
func near(c color.NRGBA) func(color.Color) bool {
	return func(other color.Color) bool {
		o := other.(color.NRGBA)
		r, g, b := int(c.R)-int(o.R), int(c.G)-int(o.G), int(c.B)-int(o.B)
		return r*r+g*g+b*b < 8*8
	}
}
