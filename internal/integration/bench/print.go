package main

import (
	_ "embed"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/template"
)

// A measuredSection is a table with its figures.
type measuredSection struct {
	section
	measured []measured
}

//go:embed benchmarks.md
var document string

// print writes BENCHMARKS.md.
func print(w io.Writer, all []measuredSection, records, rounds int) error {
	t, err := template.New("").Parse(document)
	if err != nil {
		return err
	}
	return t.Execute(w, map[string]any{
		"Records": thousands(records),
		"Rounds":  rounds,
		"Go":      strings.TrimPrefix(runtime.Version(), "go"),
		"Cores":   runtime.NumCPU(),
		"CPU":     processor(),
		"Load":    load(),
		"Tables":  tablesText(all),
		"Over":    over(all),
	})
}

func tablesText(all []measuredSection) string {
	var b strings.Builder
	for _, s := range all {
		if len(s.measured) == 0 {
			continue
		}
		fmt.Fprintf(&b, "## %s\n\n", s.title)
		if s.text != "" {
			fmt.Fprintf(&b, "%s\n\n", s.text)
		}
		b.WriteString("| work | library | its peak memory | peer | its time | its peak memory | ratio of time | ratio of processor time | ratio to 1e708b3 | target |\n")
		b.WriteString("|---|---|---|---|---|---|---|---|---|---|\n")
		for _, m := range s.measured {
			fmt.Fprintln(&b, m)
		}
		b.WriteByte('\n')
	}
	return strings.TrimSpace(b.String())
}

// over lists the rows that miss their target, and why.
func over(all []measuredSection) string {
	var b strings.Builder
	for _, s := range all {
		for _, m := range s.measured {
			if missed := m.misses(); missed != nil {
				fmt.Fprintf(&b, "- **%s**: %s.", m.name, strings.Join(missed, ", "))
				if m.over != "" {
					fmt.Fprintf(&b, " %s", m.over)
				}
				b.WriteByte('\n')
			}
		}
	}
	if b.Len() == 0 {
		return "Every row reaches its target."
	}
	return strings.TrimSpace(b.String())
}

// thousands writes a number with commas.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return "unknown processor"
}
