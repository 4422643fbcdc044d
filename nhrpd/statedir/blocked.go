package statedir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"cygnet/nhrpd/engine"
)

// Blocked is the file that keeps who is blocked. It is not part of the saved state: the saved
// state may be lost without harm, and the blocks may not.
type Blocked struct{ Dir string }

// blockRecord is the entry of one identity in the file. Its names are those of the file: they must
// not change, since a block must not be lost in an upgrade.
type blockRecord struct {
	Identity string    `json:"Identity"`
	Since    time.Time `json:"Since"` // when the block began
	Until    time.Time `json:"Until"` // when it ends; zero: it lasts until it is taken back
}

// Path returns the path of the file.
func (f Blocked) Path() string { return filepath.Join(f.Dir, "blocked.json") }

// Load returns who is blocked. It returns nobody and no error if there is no file yet.
func (f Blocked) Load() ([]engine.Block, error) {
	data, err := os.ReadFile(f.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read who is blocked: %w", err)
	}
	var records []blockRecord
	if err := json.Unmarshal(data, &records); err != nil {
		return nil, fmt.Errorf("read who is blocked in %s: %w; remove the file to start with nobody blocked",
			f.Path(), err)
	}
	blocked := make([]engine.Block, 0, len(records))
	for _, r := range records {
		blocked = append(blocked, engine.Block(r))
	}
	return blocked, nil
}

// Save replaces the file, and returns when the new one is on the disk, or with an error.
func (f Blocked) Save(blocked []engine.Block) error {
	records := make([]blockRecord, 0, len(blocked))
	for _, b := range blocked {
		records = append(records, blockRecord(b))
	}
	data, err := json.MarshalIndent(records, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(f.Path(), func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
}
