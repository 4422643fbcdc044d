package statedir

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"time"

	"cygnet/kernel/clock"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/statefile"
	"cygnet/nhrpd/translate"
)

// clients returns the state of a hub with that many clients, whose registrations end at a time.
func clients(count int, expires time.Time) engine.Saved {
	ifc := engine.SavedInterface{Name: "gre1", NBMA: netip.MustParseAddr("192.0.2.1")}
	for i := 1; i <= count; i++ { // 10.255.0.0 is no router's address
		nbma := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		ifc.Bindings = append(ifc.Bindings, engine.SavedBinding{
			Protocol:   netip.AddrFrom4([4]byte{10, 255, byte(i >> 8), byte(i)}),
			Peer:       peerid.At(nbma),
			Outer:      nbma,
			ClientNBMA: nbma,
			MTU:        1400,
			Expires:    expires,
		})
	}
	return engine.Saved{Interfaces: []engine.SavedInterface{ifc}, At: time.Now()}
}

// errCut is what a write fails with once the power is gone.
var errCut = errors.New("the power is gone")

// cutWriter passes on that many bytes and then nothing.
type cutWriter struct {
	to   io.Writer
	left int
}

func (c *cutWriter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p[:min(len(p), c.left)])
	c.left -= n
	if err == nil && n < len(p) {
		err = errCut
	}
	return n, err
}

// The power goes at any byte of a save. The next start reads the state of the save before, whole,
// and the save after that start works. What is lost is what changed since the save before.
func TestPowerCutInASave(t *testing.T) {
	f := State{Dir: t.TempDir(), Uptime: clock.Uptime}
	expires := time.Now().Add(time.Hour)
	before, next := clients(3, expires), clients(5, expires)
	if err := f.Save(before); err != nil {
		t.Fatal(err)
	}
	whole := 0
	for cut := 0; whole == 0; cut++ {
		err := replaceFile(f.Path(), func(w io.Writer) error {
			return statefile.Encode(&cutWriter{w, cut}, next, f.moment(next.At))
		})
		want := 3
		if err == nil {
			want, whole = 5, cut
		} else if !errors.Is(err, errCut) {
			t.Fatalf("after %d bytes: %v", cut, err)
		}
		saved, err := f.Load()
		if err != nil || len(saved.Interfaces) != 1 || len(saved.Interfaces[0].Bindings) != want {
			t.Fatalf("a cut at byte %d: want %d bindings, have %+v, %v", cut, want, saved, err)
		}
	}
	if st, err := os.Stat(f.Path()); err != nil || int(st.Size()) != whole {
		t.Errorf("the save was whole with %d bytes, the file has %v: %v", whole, st, err)
	}
}

// A hub with 10,000 clients reads its state and knows each of them again. The API answers with
// them, and the kernel's tables are wanted, that long after the start.
func BenchmarkStartOfALargeHub(b *testing.B) {
	const count = 10_000
	f := State{Dir: b.TempDir(), Uptime: clock.Uptime}
	if err := f.Save(clients(count, time.Now().Add(time.Hour))); err != nil {
		b.Fatal(err)
	}
	c, err := config.Parse([]byte("[interface.gre1]\naddress = \"10.255.255.254/16\"\n"+
		"underlay = \"eth0\"\nprotection = \"none\"\n"+
		fmt.Sprintf("[interface.gre1.limits]\nbindings = %d\n", 2*count)), "test.toml")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		saved, err := f.Load()
		if err != nil {
			b.Fatal(err)
		}
		var out engine.Output
		now := time.Now()
		e := engine.New(rand.New(rand.NewPCG(1, 1)), 1)
		e.Configure(now, translate.EngineConfig(c), &out)
		e.Restore(now, saved, &out)
		known := 0
		for _, ifc := range e.Status() {
			known += len(ifc.Bindings)
		}
		if known != count || len(out.Neighbors) != count {
			b.Fatalf("want %d bindings and neighbours, have %d and %d", count, known,
				len(out.Neighbors))
		}
	}
}
