// Package fault has what the errors of all packages share: the kinds that several
// packages return, the advice on an error of the file system, the error about an
// argument that is nil, and the length at which a text from outside is cut.
package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"syscall"
)

// The kinds of failure that package backup exports, with their meaning there.
var (
	ErrDamaged  = errors.New("snapshot is damaged")
	ErrTooNew   = errors.New("snapshot is too new")
	ErrNoKey    = errors.New("no key for the secrets")
	ErrWrongKey = errors.New("wrong key")
	ErrInvalid  = errors.New("invalid data")
	ErrLimit    = errors.New("limit exceeded")

	ErrRolledBack = errors.New("rolled back")
)

// RolledBack says of an error of a transaction that nothing was changed. Nil stays nil.
func RolledBack(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrRolledBack, err)
}

// Advise adds what to do next to an error of the file system. It returns any other
// error as it is.
func Advise(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("%w; check disk space", err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; check write permissions", err)
	}
	return err
}

// Other returns an error that is all that err is, but not fs.ErrNotExist. It is for a file
// that is missing and not the one that was asked for: a caller would take the backup for
// missing.
func Other(err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return &other{err}
}

// An other error hides what errors.Is would find in it by unwrapping.
type other struct{ err error }

func (e *other) Error() string { return e.err.Error() }

func (e *other) Is(target error) bool {
	return target != fs.ErrNotExist && errors.Is(e.err, target)
}

func (e *other) As(target any) bool { return errors.As(e.err, target) }

// NoPlace returns the error for a temporary copy that cannot be made. It is not
// fs.ErrNotExist.
func NoPlace(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return Other(fmt.Errorf("make a temporary copy: %w; set TempDir to a folder that exists", err))
	}
	return Advise(fmt.Errorf("make a temporary copy: %w", err))
}

// Shorten cuts a text after 500 bytes. A text from outside may have any length.
func Shorten(s string) string {
	const most = 500
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// Missing returns an error that wraps ErrInvalid if an argument or a field is nil. It
// returns nil if it has a value. what names it: "the Sink".
func Missing(what string, v any) error {
	if IsNil(v) {
		return fmt.Errorf("%w: %s is nil", ErrInvalid, what)
	}
	return nil
}

// MissingIn returns an error that wraps ErrInvalid if one of some values is nil.
func MissingIn[T any](what string, values []T) error {
	for i, v := range values {
		if err := Missing(fmt.Sprintf("%s[%d]", what, i), v); err != nil {
			return err
		}
	}
	return nil
}

// IsNil tells whether v is nil, or holds a pointer, slice or function that is nil. A
// caller easily makes one of these from a variable that was never set. A map that is
// nil is an empty map.
func IsNil(v any) bool {
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Func, reflect.Chan:
		return r.IsNil()
	}
	return false
}

// Retell returns an error that wraps err and has another text, which it cuts as Shorten
// does.
func Retell(err error, text string) error {
	if text = Shorten(text); text == err.Error() {
		return err
	}
	return &retold{text, err}
}

// Brief returns an error that wraps err, with its text cut as Shorten does.
func Brief(err error) error { return Retell(err, err.Error()) }

type retold struct {
	text string
	err  error
}

func (e *retold) Error() string { return e.text }

func (e *retold) Unwrap() error { return e.err }
