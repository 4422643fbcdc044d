package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// entries are what the programs' tables are to have.
type entries struct {
	admitted map[bpfAddress]uint32 // flags
	adopted  map[bpfAddress]bool   // admitted without flags until Settle; none of them is in admitted
	adopts   bool                  // adopted is still to be found out
	marked   map[bpfAddress]bpfAddress
	marks    bool // peers may be named by marks: the companion device is to be there
}

func newEntries(admitted []Admission, adopts bool) entries {
	e := entries{
		admitted: make(map[bpfAddress]uint32, len(admitted)), adopts: adopts,
		marked: make(map[bpfAddress]bpfAddress),
	}
	for i := range admitted {
		e.admitted[keyOf(admitted[i].NBMA)] = admitted[i].flags()
	}
	return e
}

func keyOf(nbma netip.Addr) bpfAddress { return bpfAddress{B: nbma.As16()} }

// admissions is the table of who is admitted as it is to be.
func (e *entries) admissions() map[bpfAddress]uint32 {
	if len(e.adopted) == 0 {
		return e.admitted
	}
	all := make(map[bpfAddress]uint32, len(e.admitted)+len(e.adopted))
	for k, flags := range e.admitted {
		all[k] = flags
	}
	for k := range e.adopted {
		all[k] = 0
	}
	return all
}

// compareEntries brings the tables in step with what is wanted.
func (s *ebpfPath) compareEntries(found *finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		return
	}
	known := !found.first && !s.refused // what is missing was there before
	admitted, err := compareTable(s.objects.Admitted, s.wanted.admissions())
	if err != nil {
		err = fmt.Errorf("admit all peers on %s (their data is dropped, or that of others taken): %w",
			s.device, err)
	}
	marked, markedErr := compareTable(s.objects.Marked, s.wanted.marked)
	if markedErr != nil {
		markedErr = fmt.Errorf("lead to the peers behind one NAT address on %s: %w", s.device, markedErr)
	}
	found.entries = errors.Join(err, markedErr)
	if known {
		found.restored += admitted.set + marked.set
		found.removed += admitted.deleted + marked.deleted
	}
}

// tableChanges counts what a comparison changed.
type tableChanges struct{ set, deleted int }

// compareTable makes a hash table have the wanted entries and no others. What nobody wants goes
// first: the room may be needed.
func compareTable[K, V comparable](table *ebpf.Map, wanted map[K]V) (tableChanges, error) {
	var changes tableChanges
	have, err := readTable[K, V](table)
	if err != nil {
		return changes, err
	}
	var failed error
	for k := range have {
		if _, ok := wanted[k]; ok {
			continue
		}
		if err := table.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			failed = fmt.Errorf("delete an entry that nobody wants: %w", err)
			continue
		}
		changes.deleted++
	}
	var keys []K
	var values []V
	for k, v := range wanted {
		if now, ok := have[k]; !ok || now != v {
			keys, values = append(keys, k), append(values, v)
		}
	}
	n, err := setEntries(table, keys, values)
	changes.set = n
	if err != nil {
		err = fmt.Errorf("the table takes %d entries, and %d of %d are missing: %w",
			table.MaxEntries(), len(keys)-n, len(wanted), err)
	}
	return changes, errors.Join(failed, err)
}

// tableBatch is the number of entries read with one system call.
const tableBatch = 1024

func readTable[K, V comparable](table *ebpf.Map) (map[K]V, error) {
	have := make(map[K]V)
	keys, values := make([]K, tableBatch), make([]V, tableBatch)
	var cursor ebpf.MapBatchCursor
	for done := false; !done; {
		n, err := table.BatchLookup(&cursor, keys, values, nil)
		done = errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !done {
			return nil, fmt.Errorf("read the table: %w", err)
		}
		for i := range n {
			have[keys[i]] = values[i]
		}
	}
	return have, nil
}

// setEntries sets entries with one system call (there may be thousands), and returns how many of
// them the table has now.
func setEntries[K, V comparable](table *ebpf.Map, keys []K, values []V) (int, error) {
	if len(keys) == 0 {
		return 0, nil
	}
	n, err := table.BatchUpdate(keys, values, nil)
	if err == nil {
		return len(keys), nil
	}
	return taken(n, len(keys)), err
}

// taken is how much of a batch the kernel took that says that it failed after n. Where it failed
// before it began to count, n is all.
func taken(n, all int) int {
	if n >= all {
		return 0
	}
	return n
}
