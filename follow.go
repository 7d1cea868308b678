package backup

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/fault"
)

// A following finds the records that other records refer to, and those that these refer
// to. One pass through the snapshot takes down who refers to whom. The rest happens there,
// so that a chain of any length costs no more. It holds 16 bytes of each record. The
// references are in a temporary file if they are many: nothing bounds their number.
type following struct {
	seeds   map[string]maphash.Seed // by collection
	records []traced                // sorted by hash, once all are read
	reached []uint64                // the hashes of the records that are found, sorted

	to     []uint64 // the references of one record
	buf    []byte   // the references that are not in file yet
	window []byte   // what was read of the file
	moved  int64    // how many bytes are in file
	file   *envelope.Spool
	failed bool // the file cannot be written: the rest stays in memory
}

// A traced is a record of the snapshot.
type traced struct {
	hash uint64 // of the collection and the key
	at   int64  // where its references are, or -1 for none
}

// maxFollowedBytes is how much memory references take before they go to a file, beside
// those of a record that has but one.
const maxFollowedBytes = 1 << 20

// follow reads the snapshot, and finds what the named records refer to.
func (in *incoming) follow(ctx context.Context) error {
	f := &following{seeds: make(map[string]maphash.Seed)}
	for _, col := range in.compiled.collections {
		f.seeds[col.Name] = maphash.MakeSeed()
	}
	defer f.close()
	tracing := reading{incoming: in, batches: make(map[string]*batch)}
	err := tracing.readAll(ctx, func(b *batch) error {
		for i := range b.items {
			if key, ok := b.keyOf(i); ok {
				f.add(f.hash(b.col.Name, []byte(key)), b.links(i), in.snapshot.tempDir)
				tracing.records++
			}
			tracing.bytes = max(tracing.bytes, b.items[i].offset)
		}
		if in.opts.Progress != nil {
			in.opts.Progress(Progress{"trace", b.col.Name, tracing.records, tracing.bytes, in.snapshot.manifest.Bytes})
		}
		return nil
	})
	if err != nil {
		return err
	}
	var from []uint64
	for name, keys := range in.opts.Records {
		for _, key := range keys {
			from = append(from, f.hash(name, []byte(key)))
		}
	}
	if err := f.walk(ctx, from); err != nil {
		return err
	}
	in.picks.follows = f
	return nil
}

// links calls f for the references of an item that was checked, if it is valid.
func (b *batch) links(i int) func(f func(collection string, key []byte)) {
	return func(f func(collection string, key []byte)) {
		n, r := &b.notes[i], &b.items[i]
		switch {
		case n.sure:
			for _, l := range b.pad.links[n.first:n.last] {
				f(b.col.refs[l.ref].Collection, l.key)
			}
		case n.wrong == 0:
			b.col.eachRef(b.col.view(r.key, r.value), func(target, key, _ string, err error) {
				if err == nil {
					f(target, []byte(key))
				}
			})
		}
	}
}

// hash stands for a record. Two records have the same hash as rarely as in a keyset.Set.
func (f *following) hash(collection string, key []byte) uint64 {
	return maphash.Bytes(f.seeds[collection], key)
}

// add takes down a record and its references.
func (f *following) add(hash uint64, links func(func(collection string, key []byte)), dir string) {
	to := f.to[:0]
	links(func(collection string, key []byte) { to = append(to, f.hash(collection, key)) })
	f.to = to
	slices.Sort(to)
	to = slices.Compact(to)
	r := traced{hash, -1}
	if len(to) > 0 {
		r.at = f.moved + int64(len(f.buf))
		f.buf = binary.LittleEndian.AppendUint64(f.buf, uint64(len(to)))
		for _, hash := range to {
			f.buf = binary.LittleEndian.AppendUint64(f.buf, hash)
		}
	}
	f.records = append(f.records, r)
	if len(f.buf) > max(maxFollowedBytes, 16*len(f.records)) {
		f.move(dir)
	}
}

// move moves references to the file.
func (f *following) move(dir string) {
	if f.failed {
		return
	}
	var err error
	if f.file == nil {
		f.file, err = envelope.NewSpool(dir)
	}
	if err == nil {
		_, err = f.file.Write(f.buf)
	}
	if f.failed = err != nil; !f.failed {
		f.moved += int64(len(f.buf))
		f.buf = emptied(f.buf)
	}
}

// walk goes along the references from some records, and finds all records that it meets.
func (f *following) walk(ctx context.Context, from []uint64) error {
	slices.SortFunc(f.records, func(a, b traced) int { return cmp.Compare(a.hash, b.hash) })
	met := make(ordinals, len(f.records)/64+1)
	var todo []int // records whose references were not looked at
	meet := func(hash uint64) {
		first, found := slices.BinarySearchFunc(f.records, hash, compareTraced)
		if !found || met.has(int64(first)) {
			return
		}
		f.reached = append(f.reached, hash)
		for i := first; i < len(f.records) && f.records[i].hash == hash; i++ { // several only in an invalid snapshot
			met.add(int64(i))
			if f.records[i].at >= 0 {
				todo = append(todo, i)
			}
		}
	}
	for _, hash := range from {
		meet(hash)
	}
	for n := 0; len(todo) > 0; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if err := f.eachLink(f.records[i].at, meet); err != nil {
			return err
		}
	}
	slices.Sort(f.reached)
	return nil
}

func compareTraced(r traced, hash uint64) int { return cmp.Compare(r.hash, hash) }

// eachLink calls g for each reference at a place. All of them are in the file, or none.
func (f *following) eachLink(at int64, g func(hash uint64)) error {
	if f.window == nil {
		f.window = make([]byte, 32<<10)
	}
	window, rest := f.window[:256], []byte(nil)
	next := func() (n uint64, err error) {
		if len(rest) == 0 {
			if rest, err = f.read(window, at); err != nil {
				return 0, err
			}
			window = f.window // there are many
		}
		n, rest, at = binary.LittleEndian.Uint64(rest), rest[8:], at+8
		return n, nil
	}
	left, err := next()
	for ; left > 0 && err == nil; left-- {
		var to uint64
		if to, err = next(); err == nil {
			g(to)
		}
	}
	return err
}

// read reads a text at a place, or what there is of it.
func (f *following) read(text []byte, at int64) ([]byte, error) {
	if at >= f.moved {
		return f.buf[at-f.moved:], nil
	}
	n, err := f.file.ReadAt(text[:min(int64(len(text)), f.moved-at)], at)
	if n < 8 {
		return nil, fault.Advise(fmt.Errorf("read a temporary file: %w", err))
	}
	return text[:n-n%8], nil
}

// reaches tells whether a record is to be restored.
func (f *following) reaches(collection, key string) bool {
	_, found := slices.BinarySearch(f.reached, f.hash(collection, []byte(key)))
	return found
}

// close forgets all but what was found.
func (f *following) close() {
	if f.file != nil {
		f.file.Close()
	}
	f.file, f.to, f.buf, f.window, f.records = nil, nil, nil, nil, nil
}
