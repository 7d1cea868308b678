// Command inspect looks into any snapshot, whatever application made it. It
// shows what a tool can do that knows only the format. It needs no key; sealed
// values stay sealed.
//
//	inspect FILE                      prints the manifest, and what a try of a passphrase takes
//	inspect validate FILE             checks the file: strict JSON, layout, limits, digest, counts, that secrets are sealed
//	inspect extract FILE COLLECTION   prints the records, one JSON object a line
//
// Exit status: 0 done, 1 failed, 2 wrong usage.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/tomo-project/backup"
)

const usage = `usage: inspect FILE
       inspect validate FILE
       inspect extract FILE COLLECTION
`

var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "inspect: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	var use func(*backup.Snapshot) error
	switch {
	case len(args) == 1:
		use = func(s *backup.Snapshot) error { return printManifest(s, stdout) }
	case len(args) == 2 && args[0] == "validate":
		use = func(s *backup.Snapshot) error { return printVerdict(s, stdout) }
	case len(args) == 3 && args[0] == "extract":
		use = func(s *backup.Snapshot) error { return extract(ctx, s, args[2], stdout) }
	default:
		return errUsage
	}
	f, err := os.Open(args[min(1, len(args)-1)])
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := backup.OpenSnapshot(ctx, f, backup.OpenOptions{})
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	defer s.Close()
	return use(s)
}

func printManifest(s *backup.Snapshot, w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		backup.Manifest
		KeyCosts []string `json:"key_costs,omitempty"`
	}{s.Manifest(), s.KeyCosts()})
}

// printVerdict prints what OpenSnapshot has checked, and what the file says of itself.
func printVerdict(s *backup.Snapshot, w io.Writer) error {
	m := s.Manifest()
	verdict, integrity := "whole", "digest "+m.SHA256
	if m.SHA256 == "" {
		verdict, integrity = "readable", "no digest, so it cannot be told whether this is all that was written"
	}
	if m.Salvaged != nil {
		verdict = "as it was saved"
	}
	records := int64(0)
	for _, n := range m.Records {
		records += n
	}
	text := fmt.Sprintf("%s: format %s, %d records in %d collections, %s\n", verdict, m.Version, records, len(m.Records), integrity)
	if m.Salvaged != nil {
		text = fmt.Sprintf("it can be read, but was salvaged from a damaged file. %s\n%s", m.Salvaged.Loss(), text)
	}
	if m.Partial {
		text += "it is partial: a collection was left out when it was made\n"
	}
	if m.Installation != "" {
		text += fmt.Sprintf("origin: backup %d of the installation %s\n", m.Serial, m.Installation)
	}
	if m.Format != "" { // anybody can have written it
		text += fmt.Sprintf("the format is described at %q\n", m.Format)
	}
	for _, cost := range s.KeyCosts() {
		text += fmt.Sprintf("to open its secrets takes a %s\n", cost)
	}
	_, err := io.WriteString(w, text)
	return err
}

// extract prints the records of a list, or the members of a map as objects with
// one member.
func extract(ctx context.Context, s *backup.Snapshot, collection string, w io.Writer) error {
	if _, ok := s.Manifest().Records[collection]; !ok {
		return fmt.Errorf("no collection %q in the snapshot; there are %q", collection, s.Collections())
	}
	out := bufio.NewWriter(w)
	members := json.NewEncoder(out)
	members.SetEscapeHTML(false)
	err := s.View(ctx, func(r backup.Reader) error {
		for record, err := range r.Records(ctx, collection) {
			if err != nil {
				return err
			}
			if s.Shape(collection) == backup.Map {
				err = members.Encode(map[string]json.RawMessage{record.Key: record.Value})
			} else {
				_, err = fmt.Fprintf(out, "%s\n", record.Value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, out.Flush())
}
