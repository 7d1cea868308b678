package backup

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/fault"
)

// SalvageOptions say what is known of a damaged file beside what is in it. The
// zero value will do.
type SalvageOptions struct {
	// Name is the name of the file. If it is that of a backup of the App
	// ([App.ParseBackupName]), it testifies whose the file is and when it was
	// made, where the header no longer does.
	Name string

	// Identities are tried in turn to open the secrets: a record with a secret
	// that does not open is lost too. Without any, sealed values are copied as
	// they stand, and one that is damaged has the restore refused.
	Identities []Identity

	// Encrypt encrypts what is written as a whole. A file that was encrypted as a
	// whole needs it: what is in it may be private, and its secrets in clear.
	Encrypt Encrypter

	// Limits bound what is read and written. The zero value has the defaults.
	Limits Limits

	// TempDir is where input that cannot seek is kept meanwhile. Empty means
	// os.TempDir.
	TempDir string

	// Progress, if not nil, is called now and then.
	Progress func(Progress)
}

// A SalvageReport says what was saved from a damaged file and what was lost.
type SalvageReport struct {
	Manifest Manifest         `json:"manifest"` // of what was written
	Kept     map[string]int64 `json:"kept"`     // records written, by collection

	// Lost are the places of the damaged file that nothing was made of, in their
	// order: the first thousand. Ranges counts all of them and LostBytes their
	// bytes. What is missing from the file altogether has no place in it.
	Lost      []LostRange `json:"lost,omitempty"`
	Ranges    int64       `json:"ranges"`
	LostBytes int64       `json:"lost_bytes"`

	// Missing are the records that were not saved, by collection, by the counts
	// of the file. Nil where nothing is missing, or the counts are lost.
	Missing map[string]int64 `json:"missing,omitempty"`

	// SecretsLost counts the records, by collection, that were saved without
	// their secrets, because what it takes to open them is lost.
	SecretsLost map[string]int64 `json:"secrets_lost,omitempty"`

	// Warnings say what had to be assumed, and what cannot be known.
	Warnings []string `json:"warnings,omitempty"`
}

// A LostRange is a place of a damaged file that nothing was made of: one line,
// or several that follow each other.
type LostRange struct {
	From       int64  `json:"from"` // byte offset
	To         int64  `json:"to"`   // behind the last byte
	Collection string `json:"collection,omitempty"`
	Key        string `json:"key,omitempty"` // of the record, where it can still be read
	Reason     string `json:"error"`
}

// Salvage reads a damaged file (truncated, with holes, altered bytes, without its
// beginning or its end) and writes a snapshot of all that is intact in it. The
// snapshot is marked (FORMAT.md, "Salvaged snapshots"), also if nothing was
// lost: Replace from it is refused unless [RestoreOptions].AllowSalvaged is set.
// Its metadata says "trigger":"salvaged"; the former trigger becomes
// "salvaged_trigger".
//
// It works on the layout as written, with a record a line. A line is kept if it
// is strict JSON within limits, ends with a line feed or could not be longer,
// has a key that no record before it has, satisfies the schema where the
// snapshot has the schema version of the App, and its secrets open if there is
// a key. Without one a string is tried in the place of each sealed value, so a
// schema that relates its rules to secrets of other types may lose a record that
// would be kept with the key. A record is written to the byte as it stood, or
// not at all.
//
// A record is of the collection whose line opened last. Where a line that opens
// one is lost, a record that does not fit there, or that follows the end of it,
// or all that the counts of the file have of it, is of the only collection with
// a lost beginning that it fits; if there are several, it is lost. Those come
// between their neighbours in the order that Backup writes. An Optional one is
// looked for only if the counts have it.
//
// What is lost of the header is replaced, with a warning: by Name, by the App,
// or by the time of now. If "encryption" is lost, nothing opens the secrets any
// more: they are taken off the records, which is the one way in which a record
// that is written differs from what stood in the file.
//
// References are not looked at, so the restore may need AllowDangling. A
// collection is left out if nothing of it was saved, unless it was empty.
//
// After an error what was written is worthless. It returns ErrDamaged if no
// line is a record, ErrNoKey if the file is encrypted and there is no key for it or
// no Encrypt, ErrFormat or ErrTooNew for another version of the format,
// ErrForeign, ErrWrongKey if there are Identities and none opens the secrets,
// ErrLimit, or the error of an Identity, of r, w or ctx.
func (a *App) Salvage(ctx context.Context, w io.Writer, r io.Reader, opts SalvageOptions) (SalvageReport, error) {
	c, err := a.compile()
	if err != nil {
		return SalvageReport{}, fmt.Errorf("salvage: %w", err)
	}
	s := &salvage{compiled: c, ctx: ctx, opts: opts, limits: opts.Limits.codec(), seed: maphash.MakeSeed()}
	s.file = &Snapshot{limits: s.limits}
	defer s.file.Close()
	if err := s.run(w, r); err != nil {
		return SalvageReport{}, fmt.Errorf("salvage: %w", err)
	}
	return s.report, nil
}

// A salvage reads the file twice: for its outline (salvage_outline.go), and to
// place its records (salvage_records.go). Then it copies these.
type salvage struct {
	*compiled
	ctx    context.Context
	opts   SalvageOptions
	limits codec.Limits
	seed   maphash.Seed // of what tells whether the file was changed meanwhile
	file   *Snapshot    // what is left of it
	size   int64
	report SalvageReport

	// For Progress.
	collection string
	records    int64
}

func (s *salvage) run(w io.Writer, r io.Reader) error {
	o, err := s.readOutline(r)
	if err != nil {
		return err
	}
	if err := s.header(o); err != nil {
		return err
	}
	p := s.newPlacement(o)
	if err := p.run(); err != nil {
		return err
	}
	if s.records == 0 {
		return fmt.Errorf("%w: there is nothing to salvage: no line of it is a record of a collection that is known in %s; a whole document in another layout than Backup writes needs no salvage, only to be opened", ErrDamaged, s.Name)
	}
	s.judge(o, p)
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
	if err := s.write(file, p.shards); err != nil {
		file.Close() // for what it holds: the file is worthless
		return err
	}
	if err := file.Close(); err != nil {
		return fault.Advise(fmt.Errorf("write: %w", err))
	}
	return nil
}

func (s *salvage) warn(format string, args ...any) {
	s.report.Warnings = append(s.report.Warnings, fmt.Sprintf(format, args...))
}

// each calls f for each line of r.
func (s *salvage) each(phase string, r io.Reader, f func(codec.Line) error) error {
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

// judge draws the conclusions, and makes the manifest of what is to be written.
func (s *salvage) judge(o *outline, p *placement) {
	m := &s.file.manifest
	mark := Salvaged{LostBytes: s.report.LostBytes, Records: make(map[string]int64)}
	if m.Salvaged != nil { // it was damaged before
		mark.LostBytes = plus(mark.LostBytes, m.Salvaged.LostBytes)
		maps.Copy(mark.Records, m.Salvaged.Records)
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
		if sh.n > 0 || sh.empty {
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
	m.Salvaged = &mark

	headerWhole := o.data >= 0 && (len(s.report.Lost) == 0 || s.report.Lost[0].From > o.data)
	if _, found := o.at["metadata"]; !found && !headerWhole {
		s.warn("the metadata may be lost")
	}
	if stripped > 0 {
		s.report.SecretsLost = secretsLost
		s.warn("what says how to open the secrets is lost, and nothing opens them any more: they were taken off %d records", stripped)
	}
	if m.Sealed = s.file.encryption != nil && len(s.file.encryption.Fields) > 0; s.file.encryption == nil {
		m.Keys = nil
	}
	if m.Sealed && s.file.box == nil {
		s.warn("the secrets were not opened, so that one that is damaged has the restore refused; salvage with the key to find it")
	}
	switch {
	case o.counts == nil:
		s.warn("the integrity line is lost: it is not known how many records are missing, and no digest proves the values of those that were kept")
	case !o.proven:
		s.warn("the digest does not fit: a value that was altered and is still valid cannot be told from an intact one")
	case s.report.LostBytes == 0 && len(missing) == 0:
		s.warn("the file is whole: use it, and not what was made of it")
	}
	slices.Sort(more)
	for _, name := range more {
		s.warn("%s has more records than the file says it had: records of another collection may be among them", name)
	}
	slices.Sort(guessed)
	for _, name := range guessed {
		s.warn("records of %s follow damage that may hide where another collection begins: they were taken for what they look like", name)
	}
	s.metadata()
}

// plus adds what may come from outside, and does not overflow.
func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// metadata keeps retention from taking the snapshot for what it was made of.
func (s *salvage) metadata() {
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

// What the metadata of a salvaged snapshot says.
const (
	triggerSalvaged   = "salvaged"
	metaFormerTrigger = "salvaged_trigger"
)

// write writes the snapshot.
func (s *salvage) write(w io.Writer, shards []*shard) error {
	b := &backup{
		compiled:   s.compiled,
		ctx:        s.ctx,
		limits:     s.limits,
		encryption: s.file.encryption,
		manifest:   s.file.manifest,
		problems:   problems{tolerate: true, count: s.file.manifest.Missing},
		seen:       newSeen(nil),
		out:        codec.NewWriter(w),
	}
	if err := b.header(); err != nil {
		return err
	}
	n := int64(0)
	var text, buf []byte
	for _, sh := range shards {
		if _, found := b.manifest.Records[sh.name]; !found {
			continue
		}
		if err := b.out.BeginCollection(sh.name, sh.isMap); err != nil {
			return fault.Advise(fmt.Errorf("write: %w", err))
		}
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
					r, _, err = sh.bare(r)
				}
				if err != nil {
					return err
				}
				if err := b.out.Record(r.key, r.value); err != nil {
					return fault.Advise(fmt.Errorf("write: %w", err))
				}
				if n++; n%256 != 0 {
					continue
				}
				if err := s.ctx.Err(); err != nil {
					return err
				}
				if s.opts.Progress != nil {
					s.opts.Progress(Progress{"backup", sh.name, n, b.out.Bytes(), 0})
				}
			}
			sh.pages[i] = nil
		}
		if err := b.out.EndCollection(); err != nil {
			return fault.Advise(fmt.Errorf("write: %w", err))
		}
	}
	var err error
	s.report.Manifest, err = b.end()
	return err
}
