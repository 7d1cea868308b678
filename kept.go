package backup

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tomo-project/backup/internal/envelope"
)

// kept holds checked records, migrated and with their secrets open, until they are
// restored. To open and migrate them again would cost more. They lie in a temporary file
// that is encrypted.
type kept struct {
	file   *envelope.Spool
	size   int64
	chunks map[string][]chunk // by collection, in the order of the records
	buf    []byte
}

// A chunk is the place of some records in the file.
type chunk struct {
	at   int64
	size int
}

// keepRecords keeps the records that are checked from now on, as far as that saves work.
// Without a place for a temporary file they are not kept, but read from the snapshot again.
func (in *incoming) keepRecords() {
	if in.opts.Records == nil && !in.migrates() && in.snapshot.box == nil {
		return
	}
	if file, err := envelope.NewSpool(in.snapshot.tempDir); err == nil {
		in.kept = &kept{file: file, chunks: make(map[string][]chunk)}
	}
}

// keeps tells whether the checked records of a collection are kept. Those that are in the
// snapshot as they are restored need not be, unless they are few of many.
func (in *incoming) keeps(collection string) bool {
	if in.kept == nil {
		return false
	}
	sec := in.snapshot.section(collection)
	return in.picks != nil || in.migrates() || sec != nil && in.snapshot.sealed(sec)
}

// forget removes the records that are kept.
func (in *incoming) forget() {
	if in.kept != nil {
		in.kept.file.Close()
		in.kept = nil
	}
}

// keep keeps the valid records of a batch that was checked.
func (k *kept) keep(b *batch) error {
	k.buf = emptied(k.buf)
	for i, r := range b.items {
		n := &b.notes[i]
		if n.left {
			continue
		}
		k.buf = binary.AppendVarint(k.buf, r.offset)
		k.buf = append(binary.AppendUvarint(k.buf, uint64(len(n.key))), n.key...)
		k.buf = append(binary.AppendUvarint(k.buf, uint64(len(r.value))), r.value...)
	}
	_, err := k.file.Write(k.buf)
	k.chunks[b.col.Name] = append(k.chunks[b.col.Name], chunk{k.size, len(k.buf)})
	k.size += int64(len(k.buf))
	return err
}

// each calls f for the records of a collection.
func (k *kept) each(ctx context.Context, collection string, f func(item) error) error {
	var buf []byte
	for _, c := range k.chunks[collection] {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = slices.Grow(buf[:0], c.size)[:c.size]
		if _, err := k.file.ReadAt(buf, c.at); err != nil {
			return fmt.Errorf("read the temporary file: %w", err)
		}
		for rest := buf; len(rest) > 0; {
			offset, n := binary.Varint(rest)
			rest = rest[n:]
			text := func() []byte {
				size, n := binary.Uvarint(rest)
				end := n + int(size)
				text := rest[n:end:end]
				rest = rest[end:]
				return text
			}
			if err := f(item{key: string(text()), value: text(), offset: offset}); err != nil {
				return err
			}
		}
	}
	return nil
}
