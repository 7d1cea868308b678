package backup

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"slices"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/fault"
)

// SalvageOptions say what is known about a damaged file beside its contents. The
// zero value is enough, unless the file is encrypted as a whole.
type SalvageOptions struct {
	// Name is the name of the file. If it is the name of a backup of the App
	// ([App.ParseBackupName]), it says which application the file is of and when it
	// was made, where the header no longer says so.
	Name string

	// Identities are tried in turn to open the secrets, and a record with a secret
	// that does not open counts as lost. Without any, sealed values are copied as
	// they are. A damaged one among them then refuses a restore.
	Identities []Identity

	// Encrypt encrypts the new file as a whole. It is required if the damaged file
	// was encrypted as a whole, since its records are private, and its secrets may be
	// in clear.
	Encrypt Encrypter

	// Limits bound what is read and written. The zero value has the defaults.
	Limits Limits

	// TempDir is the folder for the temporary file of input that cannot seek, or is
	// compressed or encrypted. Empty means os.TempDir.
	TempDir string

	// Progress, if not nil, is called now and then.
	Progress func(Progress)
}

// A SalvageReport says what was saved from a damaged file, and what was lost.
type SalvageReport struct {
	// Manifest is that of the snapshot that was written.
	Manifest Manifest `json:"manifest"`

	// Kept counts the records that were written, by collection.
	Kept map[string]int64 `json:"kept"`

	// Lost are the places of the damaged file that could not be used, in the order
	// of the file: the first thousand. Ranges counts all of them, and LostBytes
	// their bytes. Bytes that are missing from the file are not among them.
	Lost      []LostRange `json:"lost,omitempty"`
	Ranges    int64       `json:"ranges"`
	LostBytes int64       `json:"lost_bytes"`

	// Missing counts the records that were not saved, by collection, according to
	// the counts of the file. Nil if none is missing, or the counts are lost.
	Missing map[string]int64 `json:"missing,omitempty"`

	// SecretsLost counts the records that were saved without their secrets, by
	// collection, because the member "encryption" is lost.
	SecretsLost map[string]int64 `json:"secrets_lost,omitempty"`

	// Warnings say what had to be assumed, and what cannot be known.
	Warnings []string `json:"warnings,omitempty"`
}

// A LostRange is a place of a damaged file that could not be used: one line, or
// several that follow each other.
type LostRange struct {
	From int64 `json:"from"` // offset of the first byte
	To   int64 `json:"to"`   // offset behind the last byte

	// Collection and Key are those of the record, where they are still known.
	Collection string `json:"collection,omitempty"`
	Key        string `json:"key,omitempty"`

	// Reason says why the place could not be used.
	Reason string `json:"error"`
}

// Salvage reads a damaged file, and writes a snapshot of all that is intact in it.
// The file may be truncated, have holes or altered bytes, or lack its beginning or
// its end. It must have the layout that [App.Backup] writes, with one record a line.
//
// The new snapshot is marked as salvaged, even if nothing was lost (FORMAT.md,
// "Salvaged snapshots"): Replace from it is refused unless
// [RestoreOptions].AllowSalvaged is set. Its metadata has "trigger":"salvaged", and
// the former trigger as "salvaged_trigger".
//
// A record is written to the byte as it stood in the file, or not at all. Its line is
// kept if all of this holds:
//
//   - It is strict JSON within the limits. It ends with a line feed, or is complete
//     without one.
//   - It has a key, which no record before it has.
//   - It satisfies the schema, if the snapshot has the schema version of the App.
//   - Its secrets open, if there is a key. Without a key the schema is tried with a
//     string for each sealed value. That may lose a record whose schema expects a
//     secret of another type.
//
// A record belongs to the collection whose opening line came last before it. Some
// records cannot: those that do not fit that collection, follow its end, or exceed
// the count that the file gives for it. The opening line of their collection may be
// lost. Such a record goes to the collection without an opening line that it fits. If
// it fits several, it is lost, and so is one that also fits the collection before. The order in which Backup writes collections limits
// which of them can come at that place. Optional collections take part only if the
// counts of the file have them.
//
// Members of the header that are lost are replaced, with a warning: from Name, from
// the App, or with the time of now. The new snapshot is partial if its header was damaged
// and the counts of the file show it. If the member "encryption" is lost, nothing can
// open the secrets any more, and they are removed from the records. Only in that do
// records differ from the file.
//
// Salvage does not check references, so a restore may need AllowDangling. It leaves
// out a collection of which nothing was saved, unless that was empty.
//
// After an error the bytes written to w are worthless. Salvage returns ErrDamaged if
// no line is a record; ErrNoKey if the file is encrypted, and a key for it or Encrypt
// is missing; ErrFormat or ErrTooNew for another version of the format; ErrForeign;
// ErrWrongKey if there are Identities and none opens the file or the secrets;
// ErrLimit; or the error of a key, r, w or ctx.
func (a *App) Salvage(ctx context.Context, w io.Writer, r io.Reader, opts SalvageOptions) (SalvageReport, error) {
	c, err := a.compile()
	if err != nil {
		return SalvageReport{}, fmt.Errorf("salvage: %w", err)
	}
	if err := opts.given(w, r); err != nil {
		return SalvageReport{}, fmt.Errorf("salvage: %w", err)
	}
	s := &salvage{compiled: c, ctx: ctx, opts: opts, limits: opts.Limits.codec(), seed: maphash.MakeSeed()}
	s.file = &Snapshot{limits: s.limits}
	defer s.file.Close()
	if err := s.salvage(w, r); err != nil {
		return SalvageReport{}, fmt.Errorf("salvage: %w", err)
	}
	return s.report, nil
}

// A salvage reads the file twice: for its outline (salvage_outline.go), and to find
// the collection of each record (salvage_records.go). Then it copies the records.
type salvage struct {
	*compiled
	ctx    context.Context
	opts   SalvageOptions
	limits codec.Limits
	seed   maphash.Seed // of the sums that show whether the file was changed meanwhile
	file   *Snapshot    // what is left of it
	size   int64        // of the document in bytes
	report SalvageReport

	// For Progress.
	collection string
	records    int64

	keyBytes int64 // of maps
}

func (s *salvage) salvage(w io.Writer, r io.Reader) error {
	o, err := s.readOutline(r)
	if err != nil {
		return err
	}
	if err := s.repairHeader(o); err != nil {
		return err
	}
	p := s.newPlacement(o)
	if err := p.placeAll(); err != nil {
		return err
	}
	if s.records == 0 && s.size == 0 {
		why := "the file is empty"
		if k := s.file.envelope; k.Encrypted || k.Compressed != "" {
			why = "nothing of it could be decrypted or expanded"
		}
		return fmt.Errorf("%w: there is nothing to salvage: %s", ErrDamaged, why)
	}
	if s.records == 0 {
		return fmt.Errorf("%w: there is nothing to salvage: no line of it is a record of a collection that is known in %s; a whole document in another layout than Backup writes needs no salvage, only to be opened", ErrDamaged, s.Name)
	}
	s.conclude(o, p)
	if n := len(s.file.manifest.Records); n > codec.MaxCollections {
		return fmt.Errorf("%w: %d collections, the most is %d", ErrLimit, n, codec.MaxCollections)
	}
	file, err := envelope.NewWriter(w, "", s.opts.Encrypt)
	if err != nil {
		return err
	}
	s.file.manifest.Compressed, s.file.manifest.Encrypted = "", s.opts.Encrypt != nil
	if s.opts.Encrypt != nil {
		s.file.manifest.Keys = envelope.KeyIDs(s.opts.Encrypt)
	}
	if err := s.writeShards(file, p.shards); err != nil {
		file.Close() // to release its memory; the file is worthless
		return err
	}
	if err := file.Close(); err != nil {
		return fault.Advise(fmt.Errorf("write: %w", err))
	}
	return nil
}

func (s *salvage) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(s.report.Warnings, text) { // the file is read twice
		s.report.Warnings = append(s.report.Warnings, text)
	}
}

// eachLine calls f for each line of r.
func (s *salvage) eachLine(phase string, r io.Reader, f func(codec.Line) error) error {
	// The name of a record in a map may be escaped.
	longest := max(s.limits.RecordBytes, codec.HeaderBytes) + 8*codec.MaxKey
	n, shown := 0, int64(0)
	return codec.Lines(r, longest, func(l codec.Line) error {
		if n++; n%256 == 0 && s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		if l.End-shown > 1<<20 && s.opts.Progress != nil {
			shown = l.End
			s.opts.Progress(Progress{phase, s.collection, s.records, l.End, s.size})
		}
		return f(l)
	})
}

// conclude completes the report, and makes the manifest of the new snapshot.
func (s *salvage) conclude(o *outline, p *placement) {
	m := &s.file.manifest
	mark := Salvaged{LostBytes: s.report.LostBytes, Records: make(map[string]int64), Digest: o.digest(), Counts: countsKnown}
	if o.counts == nil {
		mark.Counts = salvagedLost
	}
	before := m.Salvaged
	if before != nil { // the damaged file was a salvaged one itself
		mark.LostBytes = plus(mark.LostBytes, before.LostBytes)
		maps.Copy(mark.Records, before.Records)
	}
	missing := make(map[string]int64)
	lose := func(name string, n int64) {
		if n > 0 {
			missing[name] = n
			mark.Records[name] = plus(mark.Records[name], n)
		}
	}
	var more, guessed []string
	stripped, secretsLost := int64(0), make(map[string]int64)
	m.Records, s.report.Kept = make(map[string]int64), make(map[string]int64)
	for _, sh := range p.shards {
		if sh.n > 0 || sh.empty && o.counts[sh.name] == 0 {
			m.Records[sh.name], s.report.Kept[sh.name] = sh.n, sh.n
		}
		if o.counts == nil {
			lose(sh.name, sh.gone)
		} else if sh.n > o.counts[sh.name] {
			more = append(more, sh.name)
		}
		if stripped += sh.stripped; sh.stripped > 0 {
			secretsLost[sh.name] = sh.stripped
		}
		if sh.guessed {
			guessed = append(guessed, sh.name)
		}
	}
	for name, n := range o.counts {
		lose(name, n-s.report.Kept[name])
	}
	if o.counts != nil && len(missing) > 0 {
		s.report.Missing = missing
	}
	if len(mark.Records) == 0 {
		mark.Records = nil
	}
	_, versioned := o.at["schema_version"]
	if !m.Partial && !o.proven && versioned && m.SchemaVersion == s.SchemaVersion && s.uncounted(o) {
		m.Partial = true
		s.warn("by its counts the snapshot was partial: it is marked so, although its header does not say it, or not any more")
	}
	mark.LostCollections = s.lostCollections(o, p)
	if before != nil {
		mark.inherit(before)
	}
	m.Salvaged = &mark
	if stripped > 0 {
		s.report.SecretsLost = secretsLost
	}
	if m.Sealed = s.file.encryption != nil && len(s.file.encryption.Fields) > 0; s.file.encryption == nil {
		m.Keys = nil
	}
	slices.Sort(more)
	slices.Sort(guessed)
	s.warnOfLoss(o, stripped, len(missing) > 0, more, guessed)
	s.markMetadata()
}

// uncounted tells whether a collection that is not optional is not among the counts. Then
// the snapshot was partial, if it had the schema version of the App. A collection that was
// lost when the damaged file was salvaged itself was not left out on request.
func (s *salvage) uncounted(o *outline) bool {
	before := s.file.manifest.Salvaged
	return o.counts != nil && slices.ContainsFunc(s.collections, func(col *collection) bool {
		_, counted := o.counts[col.Name]
		return !counted && !col.Optional && (before == nil || !slices.Contains(before.LostCollections, col.Name))
	})
}

// lostCollections names the collections of which nothing was saved, as far as the file
// and the App tell.
func (s *salvage) lostCollections(o *outline, p *placement) []string {
	expected := make(map[string]bool)
	if o.counts != nil {
		for name, n := range o.counts {
			expected[name] = n > 0
		}
	} else {
		for _, sh := range p.shards {
			expected[sh.name] = sh.opened || sh.gone > 0
		}
		if s.file.encryption != nil {
			for name := range s.file.encryption.Fields {
				expected[name] = true
			}
		}
		if m := s.file.manifest; m.SchemaVersion == s.SchemaVersion && !m.Partial {
			for _, col := range s.collections {
				expected[col.Name] = expected[col.Name] || !col.Optional
			}
		}
	}
	var lost []string
	for name, was := range expected {
		if _, saved := s.file.manifest.Records[name]; was && !saved {
			lost = append(lost, name)
		}
	}
	slices.Sort(lost)
	return lost[:min(len(lost), codec.MaxCollections)]
}

// warnOfLoss says what may be lost, and what cannot be known. more names the
// collections that have more records than the file counted, and guessed those with
// records that were assigned to them by their looks.
func (s *salvage) warnOfLoss(o *outline, stripped int64, missing bool, more, guessed []string) {
	headerWhole := o.data >= 0 && (len(s.report.Lost) == 0 || s.report.Lost[0].From > o.data)
	if _, found := o.at["metadata"]; !found && !headerWhole {
		s.warn("the metadata may be lost")
	}
	if !s.file.manifest.Partial && !headerWhole && (o.counts == nil || s.uncounted(o)) {
		s.warn("a line of the header is lost: the snapshot may be partial, so a collection that is missing may have been left out on request")
	}
	if s.file.manifest.Installation == "" && !headerWhole {
		s.warn("the origin of the snapshot may be lost: it is not known which installation made it, nor its serial")
	}
	if stripped > 0 {
		s.warn(`the member "encryption" is lost, and nothing opens the secrets any more: they were taken off %d records`, stripped)
	}
	if s.file.manifest.Sealed && s.file.box == nil {
		s.warn("the secrets were not opened, and a damaged one among them would refuse the restore; salvage with the key to find it")
	}
	mend := s.mendEnd()
	if mend != "" && s.report.LostBytes == 0 && !missing {
		s.warn("no record is lost, so mend the file and use it, and not what was made of it: %s", mend)
	}
	switch {
	case o.counts == nil:
		s.warn("the integrity line is lost: it is not known how many records are missing, and no digest proves the values of those that were kept")
	case !o.proven:
		s.warn("the digest does not fit: a value that was altered and is still valid cannot be told from an intact one")
	case s.report.LostBytes == 0 && !missing && mend == "":
		s.warn("the file is whole: use it, and not what was made of it")
	}
	for _, name := range more {
		s.warn("%s has more records than the file says it had: records of another collection may be among them", name)
	}
	for _, name := range guessed {
		s.warn("records of %s follow damage that may hide where another collection begins: they were taken for what they look like", name)
	}
}

// mendEnd says how to mend the end of the file, if a person can.
func (s *salvage) mendEnd() string {
	const last = int64(len("}\r\n}\r\n"))
	tail := make([]byte, min(last, s.size))
	if n, err := s.file.r.ReadAt(tail, s.size-int64(len(tail))); n < len(tail) && err != nil {
		return ""
	}
	value, end := bytes.LastIndexByte(tail, '}'), ""
	if value > 0 {
		value = bytes.LastIndexByte(tail[:value], '}')
		end = string(tail[value+1:])
	}
	return codec.MendEnd(end)
}

// plus adds numbers that may come from a hostile file. The sum is at most the largest
// number that a snapshot may hold.
func plus(a, b int64) int64 { return min(a, codec.MaxInteger-b) + b }

// markMetadata says in the metadata that the snapshot is salvaged, so that retention
// does not count it as the backup that it was made of.
func (s *salvage) markMetadata() {
	m := &s.file.manifest
	metadata := map[string]string{MetaTrigger: triggerSalvaged}
	for name, value := range m.Metadata {
		if name != MetaTrigger {
			metadata[name] = value
		} else if value != triggerSalvaged {
			metadata[metaFormerTrigger] = value
		}
	}
	m.Metadata = metadata
}

// The metadata of a salvaged snapshot: the value of MetaTrigger, and the name of the
// former one.
const (
	triggerSalvaged   = "salvaged"
	metaFormerTrigger = "salvaged_trigger"
)

// writeShards writes the snapshot.
func (s *salvage) writeShards(w io.Writer, shards []*shard) error {
	sw := &snapshotWriter{
		compiled:   s.compiled,
		ctx:        s.ctx,
		limits:     s.limits,
		encryption: s.file.encryption,
		manifest:   s.file.manifest,
		problems:   problems{tolerate: true, count: s.file.manifest.Missing},
		seen:       newSeen(nil),
		out:        codec.NewWriter(w),
	}
	if err := sw.writeHeader(); err != nil {
		return err
	}
	for _, sh := range shards {
		if _, found := sw.manifest.Records[sh.name]; !found {
			continue
		}
		if err := sw.out.BeginCollection(sh.name, sh.isMap); err != nil {
			return fault.Advise(fmt.Errorf("write: %w", err))
		}
		if err := s.copyRecords(sw, sh); err != nil {
			return err
		}
		if err := sw.out.EndCollection(); err != nil {
			return fault.Advise(fmt.Errorf("write: %w", err))
		}
	}
	var err error
	s.report.Manifest, err = sw.writeEnd()
	return err
}

// copyRecords copies the records of a shard from the damaged file.
func (s *salvage) copyRecords(sw *snapshotWriter, sh *shard) error {
	var text, buf []byte
	for i, page := range sh.pages {
		for _, at := range page {
			text = slices.Grow(text[:0], int(at.length))[:at.length]
			if k, err := s.file.r.ReadAt(text, at.offset); k < len(text) && err != io.EOF {
				return err
			}
			if uint32(maphash.Bytes(s.seed, text)) != at.sum {
				return fmt.Errorf("%w: the file was changed at byte %d while it was read", ErrDamaged, at.offset)
			}
			r, _, err := s.parse(codec.Line{Ended: true}, text, &buf)
			if err == nil && sh.strip {
				r, _, err = sh.withoutSecrets(r)
			}
			if err != nil {
				return err
			}
			if err := sw.out.Record(r.key, r.value); err != nil {
				return fault.Advise(fmt.Errorf("write: %w", err))
			}
			if sw.records++; sw.records%batchSize != 0 {
				continue
			}
			if err := s.ctx.Err(); err != nil {
				return err
			}
			if s.opts.Progress != nil {
				s.opts.Progress(Progress{"backup", sh.name, sw.records, sw.out.Bytes(), 0})
			}
		}
		sh.pages[i] = nil
	}
	return nil
}
