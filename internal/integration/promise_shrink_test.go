//go:build !race

package integration

import (
	"fmt"
	"strings"
)

// String returns all that is needed to see what a round does.
func (r *randomRound) String() string {
	create, _ := r.schema.createTriggers()
	collections := fmt.Sprint("in the order ", r.order)
	if r.described {
		collections = "of Describe"
	}
	return fmt.Sprintf("strategy %s, skip clashes %v, collections %s, at once %v\n-- schema\n%s%s\n-- the backup\n%s\n-- the host\n%s",
		r.strategy, r.skipClashes, collections, r.atOnce, r.schema.create(), strings.Join(create, ";\n"), r.schema.fill(r.saved), r.schema.fill(r.found))
}
