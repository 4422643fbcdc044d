package api

import "time"

// Peers returns the peers of all interfaces.
func (s *Status) Peers() []Peer {
	return flatten(s.Interfaces, func(i *Interface) []Peer { return i.Peers })
}

// Bindings returns the bindings of all interfaces.
func (s *Status) Bindings() []Binding {
	return flatten(s.Interfaces, func(i *Interface) []Binding { return i.Bindings })
}

// Shortcuts returns the shortcuts of all interfaces.
func (s *Status) Shortcuts() []Shortcut {
	return flatten(s.Interfaces, func(i *Interface) []Shortcut { return i.Shortcuts })
}

// NHS returns the next hop servers of all interfaces.
func (s *Status) NHS() []NHS {
	return flatten(s.Interfaces, func(i *Interface) []NHS { return i.NHS })
}

// Clients returns how many clients are registered at the interface.
func (i *Interface) Clients() (n int) {
	for k := range i.Bindings {
		if !i.Bindings[k].Static {
			n++
		}
	}
	return n
}

// flatten joins a list of each interface into a new list, which is never nil.
func flatten[T any](interfaces []Interface, of func(*Interface) []T) []T {
	all := []T{}
	for i := range interfaces {
		all = append(all, of(&interfaces[i])...)
	}
	return all
}

// complete fills in what the daemon does not set: the time if it is zero, the interface in each
// entry, and empty lists in the place of nil ones.
func (s *Status) complete(now time.Time) {
	if s.Now.IsZero() {
		s.Now = now
	}
	present(&s.Interfaces)
	present(&s.Routes)
	present(&s.SAs)
	present(&s.Problems)
	present(&s.Advice)
	present(&s.Blocked)
	present(&s.LogLevels)
	if s.Events.Dropped == nil {
		s.Events.Dropped = map[string]uint64{}
	}
	for i := range s.Interfaces {
		for b := range s.Interfaces[i].Bindings {
			present(&s.Interfaces[i].Bindings[b].Prefixes)
		}
		for n := range s.Interfaces[i].NHS {
			s.Interfaces[i].NHS[n].complete()
		}
	}
	for i := range s.SAs {
		present(&s.SAs[i].Children)
	}
	for _, h := range []*Histogram{
		&s.Durations.Resolved, &s.Durations.Secured, &s.Durations.SetUp, &s.Durations.Shortcut,
		&s.Durations.SA, &s.Durations.Turn, &s.Durations.Kernel, &s.Durations.Compared,
		&s.Durations.Saved,
	} {
		present(&h.Buckets)
	}
	for _, counts := range []*map[string]uint64{
		&s.Counters.Received, &s.Counters.Sent, &s.Counters.Dropped, &s.Counters.Registered,
		&s.Counters.Served, &s.StrongSwan.Failures, &s.StrongSwan.Refusals, &s.Tables.Failures,
		&s.Tables.Resyncs,
	} {
		if *counts == nil {
			*counts = map[string]uint64{}
		}
	}
	for i := range s.Interfaces {
		s.Interfaces[i].complete()
	}
}

func (n *NHS) complete() {
	present(&n.Announced)
	present(&n.Registrations)
	for r := range n.Registrations {
		present(&n.Registrations[r].Announced)
	}
}

func (i *Interface) complete() {
	present(&i.Addresses)
	present(&i.NHS)
	present(&i.Bindings)
	present(&i.Shortcuts)
	present(&i.Peers)
	present(&i.Limits)
	if c := i.ClearGRE; c != nil {
		for _, strings := range []*[]string{
			&c.Devices, &c.Missing, &c.Offloaded, &c.Ahead, &c.Causes,
		} {
			present(strings)
		}
		present(&c.Leaks)
		for l := range c.Leaks {
			present(&c.Leaks[l].Causes)
		}
	}
	for n := range i.NHS {
		i.NHS[n].Interface = i.Name
	}
	for n := range i.Bindings {
		i.Bindings[n].Interface = i.Name
	}
	for n := range i.Shortcuts {
		i.Shortcuts[n].Interface = i.Name
	}
	for n := range i.Peers {
		i.Peers[n].Interface = i.Name
		present(&i.Peers[n].Interest)
	}
}

func present[T any](list *[]T) {
	if *list == nil {
		*list = []T{}
	}
}
