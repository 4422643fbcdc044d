package datapath

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// entries are the wanted entries of the programs' tables.
type entries struct {
	admitted map[bpfAddress]uint32     // the flags of each admitted peer
	adopted  map[bpfAddress]bool       // admitted without flags until Settle; not in admitted
	adopts   bool                      // adopt has to find the adopted peers
	marked   map[bpfAddress]bpfAddress // the outer address of each marked peer
	marks    bool                      // peers may have marks: the companion device is wanted
}

// newEntries returns the entries that are wanted at the start. adopts says that adopt has to add
// the peers of an earlier run.
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

// keyOf returns the key of an NBMA address in the programs' tables.
func keyOf(nbma netip.Addr) bpfAddress { return bpfAddress{B: nbma.As16()} }

// admissions returns the wanted table of admitted peers.
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

// compareEntries compares the tables with the wanted entries, and corrects the differences.
func (s *ebpfPath) compareEntries(found *finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		return
	}
	known := !found.first && !s.refused // an entry that is missing now was there before
	admitted, err := compareTable(s.objects.Admitted, s.wanted.admissions())
	if err != nil {
		err = fmt.Errorf("admit all peers on %s (their data is dropped, or that of others taken): %w",
			s.device, err)
	}
	marked, markedErr := compareTable(s.objects.Marked, s.wanted.marked)
	if markedErr != nil {
		markedErr = fmt.Errorf("lead to the peers behind one NAT address on %s: %w",
			s.device, markedErr)
	}
	found.entries = errors.Join(err, markedErr)
	if known {
		found.restored += admitted.set + marked.set
		found.removed += admitted.deleted + marked.deleted
	}
}

// tableChanges counts the entries that a comparison changed.
type tableChanges struct{ set, deleted int }

// compareTable gives a hash table the wanted entries and no others. It deletes the unwanted entries
// first, because the wanted ones may need their room.
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

// readTable reads all entries of a hash table.
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

// setEntries sets entries of a hash table, and returns how many of them the table has now. It uses
// one system call, since there may be thousands of entries.
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

// taken returns how many entries of a failed batch the kernel took. n is the number that the kernel
// returned, and all is the size of the batch. If the kernel failed before it began to count, n is
// still all.
func taken(n, all int) int {
	if n >= all {
		return 0
	}
	return n
}
