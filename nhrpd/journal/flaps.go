package journal

import "time"

// An hour of flaps is counted in parts, so that it can slide.
const (
	flapPart  = 5 * time.Minute
	flapParts = int(time.Hour / flapPart)
)

// flaps counts how often a peer lost its SA in the last hour.
type flaps struct {
	counts [flapParts]uint32
	newest int64 // the number, since the epoch, of the part that was counted in last
}

// add counts one flap.
func (f *flaps) add(now time.Time) {
	part := f.slide(now)
	f.counts[part%int64(flapParts)]++
}

// count returns the flaps of the last hour. The hour begins at a multiple of flapPart, so it is up
// to that much shorter.
func (f *flaps) count(now time.Time) int {
	f.slide(now)
	n := 0
	for _, c := range f.counts {
		n += int(c)
	}
	return n
}

// slide forgets the parts that are over an hour old, and returns the number of the present one. A
// clock that goes back stays in the newest part.
func (f *flaps) slide(now time.Time) int64 {
	part := max(now.Unix()/int64(flapPart/time.Second), f.newest)
	if part-f.newest >= int64(flapParts) {
		f.counts = [flapParts]uint32{}
	} else {
		for p := f.newest + 1; p <= part; p++ {
			f.counts[p%int64(flapParts)] = 0
		}
	}
	f.newest = part
	return part
}
