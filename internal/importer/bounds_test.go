package importer

import (
	"io"
	"runtime"
	"strings"
	"testing"
)

// A file is read line by line: what it takes in memory does not grow with the file, however it is made.
func TestHostileFilesCostLittle(t *testing.T) { // alone: it counts the allocations of the process
	const size = 8 << 20
	many := func(part string) string { return strings.Repeat(part, size/len(part)) }
	const row = "a,b,e,1,2026-01-01T00:00:00Z\n"
	for name, body := range map[string]string{
		"one line":              header + many("x"),
		"one line of cells":     header + many(","),
		"a quote without end":   header + `"` + many("x\n"),
		"quotes":                header + many(`""`),
		"quotes in cells":       header + many(`"""",`),
		"empty lines":           header + many("\n"),
		"short lines":           header + many("x\n"),
		"long lines":            header + many(strings.Repeat("x", maxLine+1)+"\n"),
		"wide lines":            header + many(strings.Repeat(",", 5000)+"\n"),
		"a header without end":  many("x"),
		"a header of cells":     many("a,"),
		"a header of quotes":    many(`"a"",`),
		"NUL":                   header + many("\x00\n"),
		"not UTF-8":             header + many("\xff,\n"),
		"a row, then no end":    header + row + many("x"),
		"JSON in place of rows": many(`{"a":`),
	} {
		for how, open := range map[string]func() (io.ReadCloser, error){"plain": text(body), "zipped": zipped(t, body)} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := importText(t, newMemory(), func(o *csvImport) { o.Open = open })
			runtime.ReadMemStats(&after)
			if err == nil && name != "empty lines" {
				t.Errorf("%s, %s: it was imported", name, how)
			}
			if err != nil && len(err.Error()) > 64<<10 {
				t.Errorf("%s, %s: the error has %d bytes", name, how, len(err.Error()))
			}
			if cost, most := after.TotalAlloc-before.TotalAlloc, uint64(4<<20); cost > most {
				t.Errorf("%s, %s: a file of %d bytes costs %d, more than %d", name, how, len(body), cost, most)
			}
		}
	}
}
