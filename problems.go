package backup

import (
	"errors"
	"fmt"
	"strings"
)

// problems gathers what is wrong with records. The zero value refuses them.
type problems struct {
	tolerate bool             // report the problems, and go on without these records
	list     []*RecordError   // the first maxProblems
	total    int              // number of all problems
	count    map[string]int64 // number of records with problems, by collection
}

// maxProblems is how many problems are named. If they are not tolerated, the
// operation stops there.
const maxProblems = 1000

// findings are what is wrong with one record. A record may have 100,000 problems, so
// only those that will be named are kept.
type findings struct {
	list  []*RecordError // the first of them
	total int
}

// errTooMany stops an operation. Its caller then reports the problems instead.
var errTooMany = errors.New("too many problems")

// room returns how many problems more can be named.
func (p *problems) room() int { return maxProblems - len(p.list) }

// add takes the only problem of a record. It returns errTooMany if there is no use in
// going on.
func (p *problems) add(r *RecordError) error {
	return p.addAll(r.Collection, findings{[]*RecordError{r}, 1})
}

// addAll is add for all problems of a record.
func (p *problems) addAll(collection string, found findings) error {
	if found.total == 0 {
		return nil
	}
	if p.count == nil {
		p.count = make(map[string]int64)
	}
	p.count[collection]++
	p.total += found.total
	p.list = append(p.list, found.list[:min(len(found.list), p.room())]...)
	if !p.tolerate && len(p.list) == maxProblems {
		return errTooMany
	}
	return nil
}

// fatal tells whether the operation will fail.
func (p *problems) fatal() bool { return p.total > 0 && !p.tolerate }

// err returns the problems as an error of a kind. It returns nil if there are none
// or they are tolerated.
func (p *problems) err(kind error) error {
	if !p.fatal() {
		return nil
	}
	return &recordErrors{kind: kind, list: p.list, total: p.total}
}

// warnings returns the problems as texts, and how many are not named.
func (p *problems) warnings() []string {
	var texts []string
	for _, r := range p.list {
		texts = append(texts, r.Error())
	}
	if n := p.total - len(p.list); n > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", n))
	}
	return texts
}

// recordErrors is an error about several records.
type recordErrors struct {
	kind  error
	list  []*RecordError
	total int
	cause error // of which list was made, if not nil
}

// Error names the first records, one a line.
func (e *recordErrors) Error() string {
	const shown = 20
	var b strings.Builder
	b.WriteString(e.kind.Error() + ":")
	for i, r := range e.list {
		if i == shown {
			more := "and"
			if e.total >= maxProblems {
				more = "and at least"
			}
			fmt.Fprintf(&b, "\n  %s %d more", more, e.total-shown)
			break
		}
		b.WriteString("\n  " + r.Error())
	}
	return b.String()
}

func (e *recordErrors) Unwrap() []error {
	if e.cause != nil {
		return []error{e.kind, e.cause}
	}
	return append([]error{e.kind}, asErrors(e.list)...)
}
