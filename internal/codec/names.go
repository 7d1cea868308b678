package codec

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/tomo-project/backup/internal/fault"
)

// jsontext can refuse duplicate names itself. But it then keeps each name of an
// object twice, before any limit on the object is checked. So this package
// compares the names, and jsontext only reads the text.

// A duplicate is the error about an object with two members of one name.
type duplicate struct {
	name string
	at   int64 // of the second name

	// outside is set outside of all values. A name inside of a value may belong to a
	// secret, and no error quotes it.
	outside bool
}

func (e *duplicate) Error() string {
	if !e.outside {
		return "duplicate name of a member in an object"
	}
	return fmt.Sprintf("duplicate object member name %q", fault.Shorten(e.name))
}

func (e *duplicate) Is(target error) bool { return target == ErrSyntax }

// names holds the names of the members of all objects that are open at a place
// in a value.
type names struct {
	all    []memberName
	opened []int // by bracket: the index of its first name in all; -1 for an array
}

type memberName struct {
	text []byte // unquoted
	at   int
}

// open begins an object, or an array.
func (n *names) open(bracket byte) {
	first := -1
	if bracket == '{' {
		first = len(n.all)
	}
	n.opened = append(n.opened, first)
}

// inObject tells whether the innermost open bracket is that of an object.
func (n *names) inObject() bool {
	return len(n.opened) > 0 && n.opened[len(n.opened)-1] >= 0
}

// add adds the name that is the literal b[start:end].
func (n *names) add(b []byte, start, end int) {
	n.all = append(n.all, memberName{unquote(b[start:end]), start})
}

// close ends an object or an array. It returns an error if the object has two
// members of one name.
func (n *names) close() error {
	last := len(n.opened) - 1
	first := n.opened[last]
	if n.opened = n.opened[:last]; first < 0 {
		return nil
	}
	object := n.all[first:]
	n.all = n.all[:first]
	return findDuplicate(object)
}

// few is the number of names up to which each is compared with each.
const few = 12

// findDuplicate looks for two equal names. It may change their order.
func findDuplicate(object []memberName) error {
	if len(object) <= few {
		for i := range object {
			for j := range i {
				if bytes.Equal(object[i].text, object[j].text) {
					return &duplicate{name: string(object[i].text), at: int64(object[i].at)}
				}
			}
		}
		return nil
	}
	slices.SortFunc(object, func(a, b memberName) int { return bytes.Compare(a.text, b.text) })
	for i := range object[1:] {
		if a, b := object[i], object[i+1]; bytes.Equal(a.text, b.text) {
			return &duplicate{name: string(a.text), at: int64(max(a.at, b.at))}
		}
	}
	return nil
}

// A suspect is a name in a map that looks the same as a name before it. Of a
// keyset.Set, two different names look the same once in a very long time.
type suspect struct {
	section int
	*duplicate
}

// maxSuspects is how many names are looked at again. More cannot be chance.
const maxSuspects = 100

// lookAgain reads the sections that have suspects again, and returns an error
// if a suspect is there twice.
func (s *scanner) lookAgain() error {
	for i := range s.doc.Collections {
		sec := &s.doc.Collections[i]
		times := make(map[string]int)
		for _, suspect := range s.suspects {
			if suspect.section == i {
				times[suspect.name] = 0
			}
		}
		if len(times) == 0 {
			continue
		}
		err := sec.Records(s.hooks.Again, func(name string, _ []byte, _ int64) error {
			if n, suspected := times[name]; suspected {
				times[name] = n + 1
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, suspect := range s.suspects {
			if suspect.section == i && times[suspect.name] > 1 {
				s.collection = sec.Name
				return s.wrap(suspect.duplicate)
			}
		}
	}
	return nil
}
