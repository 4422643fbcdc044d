package inquiry

import "fmt"

// Check returns an error if the tables contradict each other, or hold more than they may. It is for
// tests, and slow.
func (t *Table) Check() error {
	background, waiting := 0, 0
	for s, q := range t.open {
		if q.Subject != s || q.late || t.byNumber[q.number] != q {
			return fmt.Errorf("the question %d about %+v is in the wrong table", q.number, s)
		}
		if q.background {
			background++
		} else {
			waiting++
		}
	}
	shares := 0
	for _, n := range t.waiting {
		shares += n
	}
	switch {
	case background != t.background || waiting != shares:
		return fmt.Errorf("%d questions in the background and %d others are counted as %d and %d",
			background, waiting, t.background, shares)
	case waiting > MostOpen || background > MostBackground:
		return fmt.Errorf("%d questions wait, and %d in the background", waiting, background)
	case len(t.byNumber) > mostNumbers+MostOpen+MostBackground:
		return fmt.Errorf("%d questions are remembered", len(t.byNumber))
	case len(t.rulings) > 2*t.Config.Limits.Bindings+SpareRulings:
		return fmt.Errorf("%d rulings are kept", len(t.rulings))
	case len(t.again) != len(t.queued) || len(t.again) > t.Config.Limits.Bindings+SpareRulings:
		return fmt.Errorf("%d clients are queued, %d in the set", len(t.again), len(t.queued))
	case !t.On() && len(t.byNumber)+len(t.rulings)+len(t.again) > 0:
		return fmt.Errorf("without an authorizer: %d questions, %d rulings, %d queued",
			len(t.byNumber), len(t.rulings), len(t.again))
	}
	return nil
}
