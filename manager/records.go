package manager

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tomo-project/backup"
)

// The way back from a restore of single records: Undo touches no others.

// metaRecords is the name in the metadata of a backup from before a restore of the keys of
// the records that were restored, as JSON. Without it, the restore took whole collections,
// or many records. No note has it, since it names records.
const metaRecords = "restored_records"

// addRecords writes down for Undo which records a restore is restricted to. held is what
// RestoreOptions.Before gets.
func addRecords(metadata map[string]string, held backup.DataSource) error {
	some, ok := held.(interface{ Restores() map[string][]string })
	if !ok || some.Restores() == nil {
		return nil
	}
	text, err := json.Marshal(some.Restores())
	if err == nil {
		metadata[metaRecords] = string(text)
	}
	return err
}

// recordsOf returns the records that a backup from before a restore brings back, or nil if
// it brings back whole collections.
func recordsOf(m backup.Manifest) (records map[string][]string, err error) {
	if text, some := m.Metadata[metaRecords]; some {
		if err := json.Unmarshal([]byte(text), &records); err != nil || len(records) == 0 {
			return nil, fmt.Errorf("%w: it does not say which records were restored; restore those that you want by their keys", backup.ErrInvalid)
		}
	}
	return records, nil
}

// takesOwn tells whether a restore takes records of Own.
func takesOwn(opts backup.RestoreOptions) bool {
	if opts.TakeOwn {
		return true
	}
	for name, keys := range opts.Own {
		if slices.ContainsFunc(keys, func(key string) bool { return slices.Contains(opts.Records[name], key) }) {
			return true
		}
	}
	return false
}
