package seal

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
)

// A Cost is what it takes to try a passphrase on a wrapped key. The zero value stands for
// a key that takes next to nothing.
type Cost struct {
	Memory int64 // in bytes
	Passes int64 // how often the derivation goes over the memory
}

const (
	// MaxWork is the most Work that the wrapped keys of a document may take together. It
	// lets every single key pass whose parameters are within bounds, and five times
	// what sixteen keys of WrapPassphrase take.
	MaxWork = 16 << 30

	// MaxTries is the most Work that is spent on a document, however many passphrases
	// there are to try.
	MaxTries = 2 * MaxWork

	// MaxForms is the most Work that is spent on other forms of the passphrases, after all
	// tries with the passphrases as they were given: 16 tries of a usual key.
	MaxForms = 16 * 3 * UsualMemory

	// UsualMemory is the Memory of a key that WrapPassphrase makes.
	UsualMemory = 64 << 20
)

// Work is the measure of time: the bytes of memory that a try goes over, each pass
// counted.
func (c Cost) Work() int64 { return c.Memory * c.Passes }

// String says what a key costs, for a person.
func (c Cost) String() string {
	passes := fmt.Sprintf("%d passes", c.Passes)
	if c.Passes == 1 {
		passes = "1 pass"
	}
	return Bytes(c.Memory) + " of memory, " + passes
}

// Bytes writes a number of bytes in the largest unit that leaves it whole.
func Bytes(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB"}
	for n != 0 && n%1024 == 0 && len(units) > 1 {
		n, units = n/1024, units[1:]
	}
	return fmt.Sprintf("%d %s", n, units[0])
}

// CheckWrapped checks a wrapped key as far as that takes neither a key nor a derivation
// (FORMAT.md, "Wrapped keys"). It returns what a try of the key takes. A key of a type
// that this package does not know is only an object with a type. The error is
// ErrMalformed or ErrLimits.
func CheckWrapped(wrapped []byte) (Cost, error) {
	kind, err := parseType(wrapped)
	if err != nil {
		return Cost{}, err
	}
	switch kind {
	case TypePassphrase:
		c, _, _, err := parsePassphrase(wrapped)
		return Cost{Memory: int64(c.memory) << 10, Passes: int64(c.time)}, err
	case TypeAge:
		file, _, err := ParseAge(wrapped)
		if err != nil {
			return Cost{}, err
		}
		return ageCost(file)
	}
	return Cost{}, nil
}

// keyType is the member that wrapped keys of all types have.
type keyType struct {
	Type *string `json:"type"`
}

// parseType returns the type of a wrapped key. It is read first, since the other members
// depend on it.
func parseType(wrapped []byte) (string, error) {
	var head keyType
	if err := json.Unmarshal(wrapped, &head); err != nil {
		return "", malformed(err)
	}
	if head.Type == nil {
		return "", malformed(errors.New(`no "type"`))
	}
	return *head.Type, nil
}

// malformed makes err an ErrMalformed. An error of JSON may quote a name that is as long
// as a hostile header.
func malformed(err error) error {
	if wrong, ok := errors.AsType[*json.SemanticError](err); ok {
		err = fmt.Errorf("the member %q is unknown, or is not of its type", wrong.JSONPointer)
	}
	return fmt.Errorf("%w: %.200s", ErrMalformed, err)
}

// Untried marks an error that says that a key does not fit: finding that out took no
// derivation. The result wraps ErrOtherType too, and has the text of err.
func Untried(err error) error { return untried{err} }

type untried struct{ error }

func (e untried) Is(target error) bool { return target == ErrOtherType }
func (e untried) Unwrap() error        { return e.error }
