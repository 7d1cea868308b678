package backup

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"slices"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/keyset"
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
// a key. A record is written to the byte as it stood, or not at all. Where the
// damage leaves open which collection a record is of, it is the current one if
// the record fits there, or else the only one of those with a lost beginning
// that it fits.
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
// line is a record, ErrFormat or ErrTooNew for another version of the format,
// ErrForeign, ErrWrongKey if there are Identities and none opens the secrets,
// ErrLimit, or the error of an Identity, of r, w or ctx.
func (a *App) Salvage(ctx context.Context, w io.Writer, r io.Reader, opts SalvageOptions) (SalvageReport, error) {
	c, err := a.compile()
	if err != nil {
		return SalvageReport{}, fmt.Errorf("salvage: %w", err)
	}
	s := &salvage{
		compiled: c,
		ctx:      ctx,
		opts:     opts,
		limits:   opts.Limits.codec(),
		seed:     maphash.MakeSeed(),
		lines:    make(map[int64]bool),
		at:       make(map[string]int64),
		byName:   make(map[string]*shard),
	}
	s.file = &Snapshot{limits: s.limits}
	defer s.file.Close()
	s.doc.Members = make(map[string][]byte)
	s.data, s.headerEnd = -1, -1
	report, err := s.run(w, r)
	if err != nil {
		return SalvageReport{}, fmt.Errorf("salvage: %w", err)
	}
	return report, nil
}

// A salvage reads a damaged file three times: for its outline, to tell which
// lines are records, and to write these.
type salvage struct {
	*compiled
	ctx    context.Context
	opts   SalvageOptions
	limits codec.Limits
	file   *Snapshot // what is left of it
	seed   maphash.Seed

	// The outline.
	doc       codec.Document   // the members of the header that are intact
	lines     map[int64]bool   // offsets of the lines around the records that are intact
	at        map[string]int64 // those of the members
	data      int64            // offset of the line "data", or -1
	headerEnd int64            // offset of the first line that is none of the header, or -1
	openings  []opening
	counts    map[string]int64 // of the integrity line; nil: it is lost
	whole     bool             // the counts can be relied on to name the collections
	size      int64

	// The records.
	byName  map[string]*shard
	shards  []*shard // in the order of writing
	current *shard   // the collection that the next line is of, nil if not known
	closed  *shard   // the one that ended last, if no other has begun since
	place   int      // in the order of writing: collections before it are over
	next    int      // of openings
	total   int64
	guessed map[string]bool
	unsure  bool // something was lost since current began
	lost    *LostRange
	report  SalvageReport
}

// An opening is the line that begins a collection.
type opening struct {
	offset  int64
	name    string
	isMap   bool
	damaged bool // and this is what it was
}

// A shard is what is left of a collection.
type shard struct {
	name   string
	isMap  bool
	col    *collection // nil: not declared, or of another schema version
	order  int         // place in the order of writing, -1 if not declared
	opened bool        // its beginning is in the file
	empty  bool        // and its end follows
	key    codec.Pointer
	sealed []codec.Pointer // where secrets are sealed
	strip  bool            // and nothing opens them
	open   func(item) (item, error)
	keys   *keyset.Set
	pages  [][]spot
	n      int64
	gone   int64 // lines lost
}

// A spot tells where in the file a record stands, and what stood there.
type spot struct {
	offset int64
	length uint32
	sum    uint32
}

const pageSpots = 4096

func (sh *shard) add(p spot) {
	if last := len(sh.pages) - 1; last >= 0 && len(sh.pages[last]) < pageSpots {
		sh.pages[last] = append(sh.pages[last], p)
	} else {
		sh.pages = append(sh.pages, []spot{p})
	}
	sh.n++
}

func (s *salvage) warn(format string, args ...any) {
	s.report.Warnings = append(s.report.Warnings, fmt.Sprintf(format, args...))
}

func (s *salvage) run(w io.Writer, r io.Reader) (SalvageReport, error) {
	if err := s.outline(r); err != nil {
		return SalvageReport{}, err
	}
	if err := s.header(); err != nil {
		return SalvageReport{}, err
	}
	s.prepare()
	if err := s.classify(); err != nil {
		return SalvageReport{}, err
	}
	if s.total == 0 {
		return SalvageReport{}, fmt.Errorf("%w: there is nothing to salvage: no line of it is a record of a collection that is known in %s; a whole document in another layout than Backup writes needs no salvage, only to be opened", ErrDamaged, s.Name)
	}
	err := s.write(w)
	return s.report, err
}

// longest is how much of a line is held in memory.
func (s *salvage) longest() int {
	// The name of a record in a map may be escaped.
	return max(s.limits.RecordBytes, codec.HeaderBytes) + 8*codec.MaxKey
}

// each calls f for each line of r.
func (s *salvage) each(phase string, r io.Reader, f func(codec.Line) error) error {
	n, shown := 0, int64(0)
	return codec.Lines(r, s.longest(), func(l codec.Line) error {
		if n++; n%256 == 0 && s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		if l.End-shown > 1<<20 && s.opts.Progress != nil {
			shown = l.End
			collection := ""
			if s.current != nil {
				collection = s.current.name
			}
			s.opts.Progress(Progress{phase, collection, s.total, l.End, s.size})
		}
		return f(l)
	})
}

// A capped reader refuses to go beyond a size.
type capped struct {
	r    io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, fmt.Errorf("%w: the file is larger than the limit", ErrLimit)
	}
	return n, err
}

// judge draws the conclusions, and makes the manifest of what is to be written.
func (s *salvage) judge(digest string) {
	m := &s.file.manifest
	proven := s.counts != nil && digest == m.SHA256
	mark := Salvaged{LostBytes: s.report.LostBytes, Records: make(map[string]int64)}
	if m.Salvaged != nil { // it was damaged before
		mark.LostBytes += m.Salvaged.LostBytes
		maps.Copy(mark.Records, m.Salvaged.Records)
	}
	m.Records = make(map[string]int64)
	var more []string
	missing := make(map[string]int64)
	kept := func(name string) int64 {
		if sh := s.byName[name]; sh != nil {
			return sh.n
		}
		return 0
	}
	for _, sh := range s.shards {
		if sh.n > 0 || sh.empty {
			m.Records[sh.name], s.report.Kept[sh.name] = sh.n, sh.n
		}
		if sh.gone > 0 && s.counts == nil {
			mark.Records[sh.name] += sh.gone
		}
	}
	for name, n := range s.counts {
		switch k := kept(name); {
		case k < n:
			missing[name] = n - k
			mark.Records[name] += n - k
		case k > n:
			more = append(more, name)
		}
	}
	for _, sh := range s.shards {
		if _, counted := s.counts[sh.name]; s.counts != nil && !counted && sh.n > 0 {
			more = append(more, sh.name)
		}
	}
	slices.Sort(more)
	if len(missing) > 0 {
		s.report.Missing = missing
	}

	if _, found := s.at["metadata"]; !found && !s.headerWhole() {
		s.warn("the metadata may be lost")
	}
	if n := sum(s.report.SecretsLost); n > 0 {
		s.warn("what says how to open the secrets is lost, and nothing opens them any more: they were taken off %d records", n)
	}
	switch {
	case m.Sealed && s.file.encryption == nil:
		m.Sealed = false
	case m.Sealed && s.file.box == nil:
		s.warn("the secrets were not opened, so that one that is damaged has the restore refused; salvage with the key to find it")
	}
	switch {
	case s.counts == nil:
		s.warn("the integrity line is lost: it is not known how many records are missing, and no digest proves the values of those that were kept")
	case !proven:
		s.warn("the digest does not fit: a value that was altered and is still valid cannot be told from an intact one")
	case s.report.LostBytes == 0 && len(missing) == 0:
		s.warn("the file is whole: use it, and not what was made of it")
	}
	for _, name := range more {
		s.warn("%s has more records than the file says it had: records of another collection may be among them", name)
	}
	for _, name := range slices.Sorted(maps.Keys(s.guessed)) {
		s.warn("records of %s follow damage that may hide where another collection begins: they were taken for what they look like", name)
	}
	if len(mark.Records) == 0 {
		mark.Records = nil
	}
	m.Salvaged = &mark
	s.metadata()
}

func sum(counts map[string]int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// metadata keeps retention from taking the snapshot for what it was made of.
func (s *salvage) metadata() {
	m := &s.file.manifest
	metadata := map[string]string{metaTrigger: triggerSalvaged}
	for name, value := range m.Metadata {
		if name != metaTrigger {
			metadata[name] = value
		} else if value != triggerSalvaged {
			metadata[metaFormerTrigger] = value
		}
	}
	if text, err := codec.Marshal(metadata); err != nil || len(text) > codec.HeaderBytes {
		metadata = map[string]string{metaTrigger: triggerSalvaged}
		s.warn("the metadata is too large with what had to be added, and was dropped")
	}
	m.Metadata = metadata
}

// What the metadata of a salvaged snapshot says.
const (
	triggerSalvaged   = "salvaged"
	metaFormerTrigger = "salvaged_trigger"
)

// write writes the snapshot.
func (s *salvage) write(w io.Writer) error {
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
	in := &window{r: s.file.r}
	n := int64(0)
	for _, sh := range s.shards {
		if _, found := b.manifest.Records[sh.name]; !found {
			continue
		}
		if err := b.out.BeginCollection(sh.name, sh.isMap); err != nil {
			return advise(fmt.Errorf("write: %w", err))
		}
		var buf []byte
		for i, page := range sh.pages {
			for _, p := range page {
				var r item
				var err error
				if r, buf, err = s.again(in, sh, p, buf[:0]); err != nil {
					return err
				}
				if err := b.out.Record(r.key, r.value); err != nil {
					return advise(fmt.Errorf("write: %w", err))
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
			return advise(fmt.Errorf("write: %w", err))
		}
	}
	m, err := b.end()
	s.report.Manifest = m
	return err
}

// again reads a record that was found before.
func (s *salvage) again(in *window, sh *shard, p spot, buf []byte) (item, []byte, error) {
	text, err := in.at(p.offset, int(p.length))
	if err != nil && err != io.EOF {
		return item{}, buf, err
	}
	if err != nil || uint32(maphash.Bytes(s.seed, text)) != p.sum {
		return item{}, buf, fmt.Errorf("%w: the file was changed at byte %d while it was read", ErrDamaged, p.offset)
	}
	r, _, buf, err := s.parse(codec.Line{Offset: p.offset, Ended: true}, text, buf)
	if err == nil && sh.strip {
		r, _, err = sh.bare(r)
	}
	return r, buf, err
}

// A window reads places of a file that mostly follow each other.
type window struct {
	r   io.ReaderAt
	off int64
	buf []byte
}

func (w *window) at(offset int64, n int) ([]byte, error) {
	if offset < w.off || offset+int64(n) > w.off+int64(len(w.buf)) {
		size := max(n, 256<<10)
		if cap(w.buf) < size {
			w.buf = make([]byte, size)
		}
		read, err := w.r.ReadAt(w.buf[:size], offset)
		w.off, w.buf = offset, w.buf[:read]
		if read < n {
			return nil, err
		}
	}
	start := int(offset - w.off)
	return w.buf[start : start+n], nil
}
