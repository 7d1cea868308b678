package manager

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/tomo-project/backup"
)

// readmeText says to whoever finds the backups what they are and how to open them. It has
// no secret, no path and no time, so that it is the same at each location. Whoever changes
// it raises readmeRevision.
//
//go:embed readme.txt
var readmeText string

// readmeRevision counts the versions of readmeText. A Manager of an older version of this
// library leaves a newer text alone.
const readmeRevision = 4

// readmeName is the name of the README of an application.
func readmeName(app string) string { return app + "-backup-README.txt" }

// readme returns the README of an application. Its last line has the digest of all others,
// which tells whether a person has changed it.
func readme(app string) string {
	text := strings.NewReplacer(
		"{{application}}", app,
		"{{format}}", backup.FormatAddress,
		"{{reader}}", strings.TrimSuffix(backup.FormatAddress, path.Base(backup.FormatAddress))+"read_snapshot.py",
	).Replace(readmeText)
	return fmt.Sprintf("%sRevision %d. SHA-256 of the lines above: %x\n", text, readmeRevision, sha256.Sum256([]byte(text)))
}

var readmeEnd = regexp.MustCompile(`Revision ([0-9]{1,9})\. SHA-256 of the lines above: ([0-9a-f]{64})\n$`)

// revisionOf returns the revision of a README that is as some version of this library wrote
// it. Otherwise ok is false.
func revisionOf(text []byte) (revision int, ok bool) {
	end := readmeEnd.FindSubmatchIndex(text)
	if end == nil {
		return 0, false
	}
	revision, err := strconv.Atoi(string(text[end[2]:end[3]]))
	return revision, err == nil && fmt.Sprintf("%x", sha256.Sum256(text[:end[0]])) == string(text[end[4]:end[5]])
}

// spareReadme deletes the README at a site, unless a person has changed it. It returns
// whether there was one. The next backup writes it again.
func (s *site) spareReadme(ctx context.Context, app string) bool {
	text, err := s.head(ctx, readmeName(app), 64<<10)
	if err != nil {
		return false
	}
	_, ours := revisionOf(text)
	return ours && s.remove(ctx, readmeName(app)) == nil
}

// explain keeps the README at a site, unless a person has changed it. It changes nothing
// for the backup if that fails.
func (o *operation) explain(ctx context.Context, s *site) {
	c, err := o.catalog(ctx)
	if o.NoReadme || err != nil || c.errs[s.name] != nil {
		return
	}
	if err := o.putReadme(ctx, s, c); err != nil {
		o.failed(ctx, s, "", fmt.Errorf("keep %s there: %w", readmeName(o.App.Name), err))
	}
}

func (o *operation) putReadme(ctx context.Context, s *site, c *catalog) error {
	name, text := readmeName(o.App.Name), readme(o.App.Name)
	if size, there := c.readmes[s.name]; there {
		if size == int64(len(text)) { // this text, or one that a person has changed
			return nil
		}
		old, err := s.head(ctx, name, 64<<10)
		if err != nil {
			return err
		}
		if revision, ours := revisionOf(old); !ours || revision >= readmeRevision {
			return nil
		}
		if err := s.remove(ctx, name); err != nil {
			return err
		}
	}
	_, err := within(ctx, func(ctx context.Context, _ func()) (struct{}, error) {
		return struct{}{}, s.Put(ctx, name, strings.NewReader(text))
	}, nil)
	switch {
	case errors.Is(err, fs.ErrExist): // somebody else has put it there meanwhile
		return nil
	case err == nil:
		c.readmes[s.name] = int64(len(text))
	}
	return err
}

// head returns the first bytes of a file, most of them at the most.
func (s *site) head(ctx context.Context, name string, most int64) ([]byte, error) {
	return within(ctx, func(ctx context.Context, alive func()) ([]byte, error) {
		r, err := s.Open(ctx, name)
		if err != nil {
			return nil, err
		}
		r = lively(r, alive)
		defer r.Close()
		return io.ReadAll(io.LimitReader(r, most))
	}, nil)
}
