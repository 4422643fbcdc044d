package nhrpd

import (
	"testing"
	"testing/synctest"
	"time"

	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/espstate"
	"cygnet/vici"
)

// The list of SAs has the kernel's counts of the moment of asking, and in the totals what the
// CHILD_SAs before carried. If charon does not answer, the list says since when.
func TestSAsAreCountedNow(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		w.tunnels["gre1"].states <- tunnelThere
		synctest.Wait()
		local := tunnelThere.Local
		w.mu.Lock()
		w.sas = []vici.SA{{
			Interface:  "gre1",
			RemoteHost: hubNBMA,
			LocalHost:  local,
			State:      "ESTABLISHED",
			Children: []vici.Child{
				{
					ID:         2,
					SPIIn:      0x11,
					SPIOut:     0x22,
					BytesIn:    5,
					BytesOut:   6,
					CarriedIn:  1000,
					CarriedOut: 2000,
				},
				{ID: 3, SPIIn: 0x33, SPIOut: 0x44, BytesIn: 7, BytesOut: 8},
			},
		}}
		w.states = []xfrm.ESPState{
			{Src: hubNBMA, Dst: local, SPI: 0x11, Bytes: 500, Packets: 5},
			{Src: local, Dst: hubNBMA, SPI: 0x22, Bytes: 600},
			// An outbound SPI is the choice of the peer: this is not our inbound SPI 0x33.
			{Src: local, Dst: hubNBMA, SPI: 0x33, Bytes: 9999},
		}
		w.mu.Unlock()
		sas, err := d.SAs(t.Context())
		if err != nil || len(sas) != 1 || len(sas[0].Children) != 2 {
			t.Fatalf("%+v, %v", sas, err)
		}
		c := sas[0].Children[0]
		if c.BytesIn != 500 || c.BytesOut != 600 || c.TotalIn != 1500 || c.TotalOut != 2600 {
			t.Errorf("counted %+v", c)
		}
		if c := sas[0].Children[1]; c.BytesIn != 7 || c.TotalOut != 8 {
			t.Errorf("without states of its own: %+v", c)
		}
		if w.noted("counted map[17:{500 5}] in, map[34:{600 0} 51:{9999 0}] out") < 0 {
			t.Errorf("charon's client does not know the counts: %q", w.record)
		}
		if !sas[0].AsOf.IsZero() {
			t.Errorf("old although charon answers: %v", sas[0].AsOf)
		}
		gone := time.Now()
		w.mu.Lock()
		w.charonGone = gone
		w.mu.Unlock()
		if sas, err := d.SAs(t.Context()); err != nil || len(sas) != 1 ||
			!sas[0].AsOf.Equal(gone) {
			t.Errorf("without charon: %+v, %v", sas, err)
		}
	})
}

// What an earlier charon left in the kernel still carries traffic, so it is counted while charon is
// away, too. The status has what the SAs carried, with the limits of the interface.
func TestTrafficIsCountedWithoutCharon(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		w.mu.Lock()
		local := tunnelThere.Local
		w.charonGone = time.Now()
		w.states = []xfrm.ESPState{{Src: hubNBMA, Dst: local, SPI: 0x11, Bytes: 500, Packets: 4}}
		w.mu.Unlock()
		time.Sleep(espstate.Interval + time.Second)
		synctest.Wait()
		if w.noted("counted map[17:{500 4}] in, map[] out") < 0 {
			t.Errorf("nothing was counted: %q", w.record)
		}
		st, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := &st.Interfaces[0]
		want := api.Traffic{BytesIn: 700, BytesOut: 800, PacketsIn: 7, PacketsOut: 8}
		if i.Traffic == nil || *i.Traffic != want || len(i.Peers) != 1 ||
			i.Peers[0].Traffic == nil || *i.Peers[0].Traffic != want {
			t.Errorf("want %+v, have %+v and peers %+v", want, i.Traffic, i.Peers)
		}
		if len(i.Limits) != 13 || i.Limits[0].Limit != 10_000 || *i.Limits[0].Used != 0 {
			t.Errorf("limits %+v", i.Limits)
		}
		if st.Durations.Turn.Count != 0 { // the clock stands still while the loop works
			t.Errorf("turns %+v", st.Durations.Turn)
		}
	})
}
