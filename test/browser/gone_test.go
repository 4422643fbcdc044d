package browser

import (
	"testing"
)

// gone and live are true in the page when the daemon does not answer, and when it does.
const (
	gone = `document.querySelector('#connection').dataset.state === 'gone'`
	live = `document.querySelector('#connection').dataset.state === 'live'`
)

// When the daemon goes, the page says so and since when what it shows is old. It keeps showing
// that. When the daemon is back, the page goes on by itself, and tells that the events begin anew.
func TestDaemonGoneAndBack(t *testing.T) {
	t.Parallel()
	p := open(t, "hub", desk)
	p.to("four spokes are registered")
	p.await("spoke4 is drawn", has(path(hub, spoke4, "")))
	p.fail(true)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	p.await("the page says so", gone)
	p.await("in words", `/cygnetd/.test(document.querySelector('#connection').textContent) &&
		/The page shows 03:00:\d\d/.test(document.querySelector('#connection').textContent)`)
	p.await("the last mesh is still there", has(path(hub, spoke4, "")))
	if err := p.Again(); err != nil {
		t.Fatal(err)
	}
	p.await("the page is live again", live)
	p.fail(false)
	p.await("the gap is told", has(`#events li[data-event="gap"]`))
	p.to("a spoke registers late")
	p.await("what happens is shown again", has(path(hub, spoke5, "")))
}

// When the server of the page goes, the page says that, and not that the daemon is gone.
func TestServerGone(t *testing.T) {
	t.Parallel()
	p := open(t, "hub", desk)
	p.to("four spokes are registered")
	p.await("spoke4 is drawn", has(path(hub, spoke4, "")))
	p.fail(true)
	p.served()
	p.await("the page says so", gone)
	p.await("in words",
		`/server of this page/.test(document.querySelector('#connection').textContent)`)
}
