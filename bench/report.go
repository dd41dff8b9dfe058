package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// figure is one line of the table: what each side reached, and hearth in relation to the floor.
type figure struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	// Floor, Peer and Hearth are medians over the rounds; 0 where a side has no such thing.
	Floor  float64 `json:"floor,omitempty"`
	Peer   float64 `json:"peer,omitempty"`
	Hearth float64 `json:"hearth"`
	// Before is what the program before reached, in turn with Hearth.
	Before float64 `json:"before,omitempty"`
	// Ratio is Hearth ÷ Floor, unless Against says otherwise; Goal is what it should be.
	Ratio   float64 `json:"ratio,omitempty"`
	Against string  `json:"against,omitempty"`
	Goal    string  `json:"goal,omitempty"`
	Note    string  `json:"note,omitempty"`
}

type report struct {
	At      time.Time `json:"at"`
	Machine string    `json:"machine"`
	Go      string    `json:"go"`
	Figures []figure  `json:"figures"`

	out string
}

func newReport(o options) *report {
	return &report{At: time.Now().UTC(), Machine: machine(), Go: runtime.Version(), out: o.out}
}

func (r *report) add(f figure) {
	if f.Floor > 0 && f.Ratio == 0 {
		f.Ratio = f.Hearth / f.Floor
	}
	r.Figures = append(r.Figures, f)
}

// addBoth adds the medians of the rounds of two programs.
func (r *report) addBoth(before, after []*report) {
	of := func(reports []*report, name string, value func(figure) float64) float64 {
		var values []float64
		for _, one := range reports {
			for _, f := range one.Figures {
				if f.Name == name {
					values = append(values, value(f))
				}
			}
		}
		return median(values)
	}
	both := slices.Concat(before, after)
	for _, f := range after[len(after)-1].Figures {
		if f.Against == "" {
			f.Ratio = 0 // of the medians
		}
		f.Floor = of(both, f.Name, func(f figure) float64 { return f.Floor })
		f.Peer = of(both, f.Name, func(f figure) float64 { return f.Peer })
		f.Before = of(before, f.Name, func(f figure) float64 { return f.Hearth })
		f.Hearth = of(after, f.Name, func(f figure) float64 { return f.Hearth })
		r.add(f)
	}
}

// finish prints the table and writes the JSON.
func (r *report) finish() error {
	fmt.Printf("%s, %s, %s\n\n", r.Machine, r.Go, r.At.Format(time.DateOnly))
	fmt.Println("| what | unit | floor | PocketBase | before | hearth | hearth ÷ before | ratio | goal | |")
	fmt.Println("| --- | --- | --: | --: | --: | --: | --: | --: | --- | --- |")
	for _, f := range r.Figures {
		note := f.Note
		if f.Against != "" {
			note = strings.TrimSpace("ratio: " + f.Against + ". " + note)
		}
		var gain float64
		if f.Before > 0 {
			gain = f.Hearth / f.Before
		}
		fmt.Printf("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n",
			f.Name, f.Unit, number(f.Floor), number(f.Peer), number(f.Before), number(f.Hearth), number(gain), number(f.Ratio), f.Goal, note)
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(r.out, r.At.Format("2006-01-02T150405")+".json")
	fmt.Fprintln(os.Stderr, "\nwritten to", path)
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

func number(v float64) string {
	switch {
	case v == 0:
		return ""
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func machine() string {
	model := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.SplitSeq(string(info), "\n") {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				model = strings.TrimLeft(name, " \t:")
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s, %s", runtime.NumCPU(), model, runtime.GOOS)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
