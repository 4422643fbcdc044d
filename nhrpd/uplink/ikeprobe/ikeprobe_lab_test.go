//go:build lab

package ikeprobe

import (
	"net/netip"
	"testing"
	"time"

	"cygnet/test/lab"
)

// A stock charon answers a probe, and makes no IKE_SA of it. Where no daemon listens, nobody
// answers.
func TestCharonAnswersProbes(t *testing.T) {
	m := lab.NewMesh(t)
	hub := m.Hub.Router.Charon()
	m.Spoke1.Inside(func() error {
		p, err := Open("eth0", m.Spoke1.NBMA)
		if err != nil {
			t.Fatal(err)
		}
		answers := make(chan netip.Addr, 16)
		ended := make(chan error, 1)
		go func() {
			for {
				from, err := p.Receive()
				if err != nil {
					ended <- err
					return
				}
				answers <- from
			}
		}()
		for _, to := range []netip.Addr{m.Spoke2.NBMA, m.Hub.NBMA} {
			if err := p.Send(to); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case from := <-answers:
			if from != m.Hub.NBMA {
				t.Errorf("want an answer of the hub, %s, have one of %s", m.Hub.NBMA, from)
			}
		case <-time.After(30 * time.Second):
			t.Error("charon did not answer a probe within 30 s")
		}
		p.Close()
		<-ended
		if len(answers) > 0 {
			t.Errorf("want no answer but the hub's, have one of %s", <-answers)
		}
		return nil
	})
	if sas := hub.SAs(); len(sas) > 0 {
		t.Errorf("want no IKE_SA from a probe, have %+v", sas)
	}
}
