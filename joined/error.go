package joined

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tomo-project/backup"
)

// explain says what a failed commit of part i means for all parts.
func (r *run) explain(i int, err error) error {
	known := errors.Is(err, backup.ErrRolledBack) || errors.Is(err, errLate)
	if len(r.parts) == 1 || i == 0 && known {
		return err
	}
	says := "do not have the changes"
	if !known {
		says = "may or may not have the changes"
	}
	text := fmt.Sprintf("joined: %s %s: %v", r.parts[i].names(), says, err)
	if i > 0 {
		text += fmt.Sprintf("; %s have them", union(r.parts[:i]))
	}
	if i+1 < len(r.parts) {
		text += fmt.Sprintf("; %s do not have them", union(r.parts[i+1:]))
	}
	return &partly{text + "; the same restore again completes what is missing, and an undo takes back the rest", err}
}

// A partly is the failure of a commit that has left the parts in different states.
type partly struct {
	text string
	err  error
}

func (e *partly) Error() string { return e.text }

// Is does not say ErrRolledBack: that is true of one part only.
func (e *partly) Is(target error) bool {
	return target != backup.ErrRolledBack && errors.Is(e.err, target)
}

func (e *partly) As(target any) bool { return errors.As(e.err, target) }

// names is what errors call a part.
func (p Part) names() string { return union([]Part{p}) }

// union names the collections of some parts.
func union(parts []Part) string {
	const most = 5
	var names []string
	for _, p := range parts {
		names = append(names, p.Collections...)
	}
	if more := len(names) - most; more > 0 {
		names = append(names[:most:most], fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}
