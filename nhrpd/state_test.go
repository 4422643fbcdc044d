package nhrpd

import (
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// A daemon that is killed must know after its return what it agreed on with others: the state is in the file a moment later.
func TestChangeIsSavedInAMoment(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		register(t, w, w.socket(0))
		time.Sleep(saveDelay)
		synctest.Wait()
		saved, err := d.state.load()
		if err != nil {
			t.Fatal(err)
		}
		if len(saved.Interfaces) != 1 || len(saved.Interfaces[0].NHS) != 1 || saved.Interfaces[0].NHS[0].NBMA != hubNBMA {
			t.Errorf("the registration is not in what a restart would read: %+v", saved)
		}
	})
}

// Changes that follow each other all the time do not put the saving off, and the last of them is saved as well.
func TestChangesWithoutEndAreSaved(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		register(t, w, w.socket(0))
		change := func() {
			if err := d.loop.call(t.Context(), func(time.Time) { d.loop.saveSoon() }); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			for range 10 {
				change()
				time.Sleep(saveDelay / 4)
			}
			synctest.Wait()
			if err := os.Remove(d.state.path()); err != nil {
				t.Fatalf("nothing was saved while changes came: %v", err)
			}
		}
		change()
		time.Sleep(2 * saveDelay)
		synctest.Wait()
		if _, err := os.Stat(d.state.path()); err != nil {
			t.Errorf("the last change was not saved: %v", err)
		}
	})
}
