package snmp

import (
	"slices"
	"strings"
)

// Kind is the type of a value, in the words of snmpd's pass_persist.
type Kind string

// The kinds of values that the NHRP MIB has.
const (
	Integer Kind = "integer"
	Gauge   Kind = "gauge" // Unsigned32 as well: the two are the same on the wire
	Counter Kind = "counter"
	Octets  Kind = "octet"
)

// Value is the value of an object. The zero Value is no value: the row has no such object.
type Value struct {
	Kind   Kind
	Number uint32 // unless the kind is Octets
	Octets string
}

// Tree is a set of tables. It does not change.
type Tree struct{ tables []table }

// table is one table of a MIB. It has no row twice.
type table struct {
	entry   OID // what the identifiers of all objects in the table begin with
	key     string
	columns []uint32 // in order
	rows    []row    // in the order of their keys
}

// row is one row of a table.
type row struct {
	index OID
	key   string
	cells []Value // one for each column of the table
}

// add adds a row. The rows may come in any order until the table is sorted.
func (t *table) add(index OID, cells ...Value) {
	t.rows = append(t.rows, row{index, index.key(), cells})
}

// sort puts the rows in order. Of several with one index it keeps the one that was added first.
func (t *table) sort() {
	t.key = t.entry.key()
	slices.SortStableFunc(t.rows, func(a, b row) int { return strings.Compare(a.key, b.key) })
	t.rows = slices.CompactFunc(t.rows, func(a, b row) bool { return a.key == b.key })
}

// newTree returns the tree of some tables, which come in the order of their identifiers.
func newTree(tables ...*table) *Tree {
	tree := &Tree{}
	for _, t := range tables {
		t.sort()
		tree.tables = append(tree.tables, *t)
	}
	return tree
}

// Get returns the value of an object.
func (t *Tree) Get(oid OID) (Value, bool) {
	key := oid.key()
	for i := range t.tables {
		table := &t.tables[i]
		if len(oid) <= len(table.entry) || !strings.HasPrefix(key, table.key) {
			continue
		}
		column, found := slices.BinarySearch(table.columns, oid[len(table.entry)])
		if !found {
			continue // the table's identifier begins that of another one
		}
		r, found := table.find(key[len(table.key)+4:])
		if !found {
			return Value{}, false
		}
		v := table.rows[r].cells[column]
		return v, v.Kind != ""
	}
	return Value{}, false
}

// Next returns the first object after an identifier, whether an object has that one or not, and its
// value. It returns false if there is none.
func (t *Tree) Next(oid OID) (OID, Value, bool) {
	key := oid.key()
	for i := range t.tables {
		table := &t.tables[i]
		column, r := 0, 0
		switch {
		case len(oid) > len(table.entry) && strings.HasPrefix(key, table.key):
			column, r = table.after(oid[len(table.entry)], key[len(table.key)+4:])
		case key > table.key:
			continue
		}
		if next, v, found := table.from(column, r); found {
			return next, v, true
		}
	}
	return nil, Value{}, false
}

// find returns the place of the row with a key, or where one would be.
func (t *table) find(key string) (place int, found bool) {
	return slices.BinarySearchFunc(t.rows, key, func(r row, key string) int {
		return strings.Compare(r.key, key)
	})
}

// after returns the place of the cell that follows that of a column and a row's key.
func (t *table) after(column uint32, key string) (place, row int) {
	place, found := slices.BinarySearch(t.columns, column)
	if !found {
		return place, 0
	}
	row, found = t.find(key)
	if found {
		row++
	}
	return place, row
}

// from returns the first object at a place or after it: SNMP goes down one column after another.
func (t *table) from(column, r int) (OID, Value, bool) {
	for ; column < len(t.columns); column, r = column+1, 0 {
		for ; r < len(t.rows); r++ {
			if v := t.rows[r].cells[column]; v.Kind != "" {
				return t.entry.with(t.columns[column]).with(t.rows[r].index...), v, true
			}
		}
	}
	return nil, Value{}, false
}
