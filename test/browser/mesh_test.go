package browser

import (
	"fmt"
	"slices"
	"testing"

	"cygnet/test/web/recording"
)

// has is an expression that is true if the page has something.
func has(selector string) string {
	return fmt.Sprintf(`document.querySelector(%s) !== null`, quote(selector))
}

// hasNo is an expression that is true if the page does not have something.
func hasNo(selector string) string { return "!(" + has(selector) + ")" }

// path is the selector of a path from a router to another.
func path(from, to, more string) string {
	return fmt.Sprintf(`#mesh .path[data-from="%s"][data-to="%s"]%s`, from, to, more)
}

// The overlay addresses of the routers in the recordings.
const (
	hub    = "10.255.0.1"
	spoke1 = "10.255.0.11"
	spoke2 = "10.255.0.12"
	spoke3 = "10.255.0.13"
	spoke4 = "10.255.0.14"
	spoke5 = "10.255.0.15"
	spoke6 = "10.255.0.16"
)

// router is the selector of a router in the drawing, and row that of its row in the table.
func router(address string) string { return fmt.Sprintf(`#mesh g.router[data-peer="%s"]`, address) }
func row(address string) string    { return fmt.Sprintf(`#routers tr[data-peer="%s"]`, address) }

// A hub shows its spokes as they register, late as well, as they are refused and as they say
// goodbye, with the kind of path to each and with what is wrong.
func TestHubShowsItsSpokes(t *testing.T) {
	t.Parallel()
	p := open(t, "hub", desk)
	p.await("only the hub is there", `document.querySelectorAll('#mesh g.router').length === 1`)
	p.await("nothing is wrong", has(`#problems[data-count="0"]`))
	p.to("four spokes are registered")
	for _, spoke := range []string{spoke1, spoke2, spoke3, spoke4} {
		p.await(spoke+" is drawn", has(router(spoke)))
		p.await(spoke+" is in the table", has(row(spoke)))
		p.await(spoke+" has a path", has(path(hub, spoke, `[data-kind="hub"]`)))
	}
	p.await("spoke2 is behind NAT", has(path(hub, spoke2, `[data-nat="there"]`)))
	p.await("spoke1 is not", has(path(hub, spoke1, `:not([data-nat])`)))
	p.to("a spoke registers late")
	p.await("spoke5 is drawn", has(path(hub, spoke5, `[data-kind="hub"]`)))
	p.to("a spoke is refused")
	p.await("a problem is told", has(`#problems [data-code="registration-refused"]`))
	p.await("spoke6 has no binding", hasNo(path(hub, spoke6, `[data-kind="hub"]`)))
	p.to("the refused spoke is taken")
	p.await("spoke6 has a path", has(path(hub, spoke6, `[data-kind="hub"]`)))
	p.await("the problem is over", has(`#problems[data-count="0"]`))
	p.to("a spoke says goodbye")
	p.await("spoke5 is gone", hasNo(row(spoke5))+" && "+hasNo(router(spoke5)))
	p.await("the event tells", has(`#events li[data-event="client-ended"]`))
}

// A spoke shows the direct paths as they come, go and fail.
func TestDirectPathsComeAndGo(t *testing.T) {
	t.Parallel()
	p := open(t, "spoke1", desk)
	p.await("the hub is there", has(path(spoke1, hub, `[data-kind="hub"]`)))
	p.await("and no other", `document.querySelectorAll('#mesh g.router').length === 2`)
	p.to("a direct path comes")
	p.await("the path to spoke3 is direct", has(path(spoke1, spoke3, `[data-kind="direct"]`)))
	p.to("three direct paths")
	for _, spoke := range []string{spoke2, spoke3, spoke5} {
		p.await("the path to "+spoke+" is direct", has(path(spoke1, spoke, `[data-kind="direct"]`)))
	}
	p.await("that to spoke2 goes through NAT", has(path(spoke1, spoke2, `[data-nat="there"]`)))
	p.await("the rate of the path to spoke3 is told", fmt.Sprintf(
		`/bit\/s/.test(document.querySelector(%s)?.textContent)`, quote(row(spoke3))))
	p.to("direct paths go")
	for _, spoke := range []string{spoke3, spoke5} {
		p.await("there is no path to "+spoke,
			hasNo(path(spoke1, spoke, `:not([data-kind="gone"])`)))
		p.await(spoke+" is not in the table", hasNo(row(spoke)))
	}
	p.await("the path to spoke2 stays", has(path(spoke1, spoke2, `[data-kind="direct"]`)))
	p.to("a direct path fails")
	p.await("the failure is drawn", has(`#mesh .path[data-kind="failed"]`))
	p.await("and told", has(`#problems [data-code="direct-path-failed"]`))
}

// Each step of the recording can be shown: the page never stumbles over what comes between.
func TestEachStep(t *testing.T) {
	t.Parallel()
	p := open(t, "spoke1", desk)
	for p.Next() {
		p.await(fmt.Sprintf("event %d is there", p.Last()),
			has(fmt.Sprintf(`#events li[data-number="%d"]`, p.Last())))
	}
	p.await("the last mesh is drawn", has(path(spoke1, spoke2, `[data-kind="direct"]`)))
	numbers := value[[]int](p, `[...document.querySelectorAll('#events li')].map((e) =>
		Number(e.dataset.number))`)
	if !slices.IsSortedFunc(numbers, func(a, b int) int { return b - a }) ||
		len(numbers) != int(p.Last()) {
		t.Errorf("the events are %v, want %d, the newest first", numbers, p.Last())
	}
}

// explained awaits that the panel has an account.
func (p *page) explained(what string) {
	p.Helper()
	p.await(what, `!document.querySelector('#explain').hidden && `+has(`#explain .verdict`)+
		` && `+has(`#explain .steps li`))
}

// lastAsked returns what the daemon was last asked to explain.
func (p *page) lastAsked() recording.Pair {
	p.Helper()
	all := p.Asked()
	if len(all) == 0 {
		p.Fatal("the daemon was asked to explain nothing")
	}
	return all[len(all)-1]
}

// On a hub a click on a path between two spokes explains the way of their packets.
func TestClickExplainsAPair(t *testing.T) {
	t.Parallel()
	p := open(t, "hub", desk)
	p.to("three direct paths")
	between := `#mesh .path[data-kind="asked"]`
	p.await("the paths between the spokes are drawn",
		fmt.Sprintf(`document.querySelectorAll(%s).length === 3`, quote(between)))
	pairs := value[[]string](p, fmt.Sprintf(`[...document.querySelectorAll(%s)]
		.map((e) => [e.dataset.from, e.dataset.to].sort().join(' '))`, quote(between)))
	for _, other := range []string{spoke2, spoke3, spoke5} {
		if !slices.Contains(pairs, spoke1+" "+other) {
			t.Errorf("found the pairs %q, want one of spoke1 and %s", pairs, other)
		}
	}
	p.clickPath(`#mesh .path[data-kind="asked"]:is([data-from="` + spoke3 + `"], [data-to="` +
		spoke3 + `"])`)
	p.explained("the pair is explained")
	got := p.lastAsked()
	want := []recording.Pair{
		{Destination: addr("172.16.3.10"), Source: addr(spoke1)},
		{Destination: addr("172.16.1.10"), Source: addr(spoke3)},
	}
	if !slices.Contains(want, got) {
		t.Errorf("a click between spoke1 and spoke3 asks for %s", got)
	}
}

// A click on a path, on a router or in the table explains the way there.
func TestClickExplains(t *testing.T) {
	t.Parallel()
	p := open(t, "spoke1", desk)
	p.to("three direct paths")
	p.await("the path to spoke3 is direct", has(path(spoke1, spoke3, `[data-kind="direct"]`)))
	p.clickPath(path(spoke1, spoke3, ""))
	p.explained("the path is explained")
	p.await("it is direct", has(`#explain .verdict[data-path="direct"]`))
	if got := p.lastAsked(); got.Destination != addr("172.16.3.1") {
		t.Errorf("a click on the path to spoke3 asks for %s", got)
	}
	p.click("#explain-close")
	p.await("the account is closed", `document.querySelector('#explain').hidden`)
	p.click(router(hub) + " circle")
	p.explained("the hub is explained")
	if got := p.lastAsked(); got.Destination != addr(hub) {
		t.Errorf("a click on the hub asks for %s", got)
	}
	p.click("#explain-close")
	p.click(row(spoke2) + " button")
	p.explained("the row is explained")
	if got := p.lastAsked(); got.Destination != addr("172.16.2.1") {
		t.Errorf("a click on the row of spoke2 asks for %s", got)
	}
}
