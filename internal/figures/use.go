package figures

import (
	"context"
	"slices"

	"hearth/internal/api/admin"
	"hearth/internal/bus"
	"hearth/internal/kv"
	"hearth/internal/observe"
)

// use is what a process did and uses.
type use struct {
	HTTP    observe.HTTPFigures
	Cache   []kv.LayerStats
	Process admin.ProcessFigures
}

// NewUse returns what reports the requests, caches and use of memory and processors of all processes together, given those of this
// one.
func NewUse(asker *bus.Asker, requests func() observe.HTTPFigures, caches func() []kv.LayerStats) func(context.Context) (observe.HTTPSummary, admin.Figures) {
	var cpu cpuMeter
	question := bus.NewQuestion(asker, "use", func(struct{}) use {
		return use{HTTP: requests(), Cache: caches(), Process: cpu.process()}
	})
	return func(ctx context.Context) (observe.HTTPSummary, admin.Figures) {
		return sumUse(question.Ask(ctx, struct{}{}))
	}
}

// sumUse adds up what processes did and use.
func sumUse(each []use) (observe.HTTPSummary, admin.Figures) {
	f := admin.Figures{Instances: len(each)}
	var requests []observe.HTTPFigures
	var layers []kv.LayerStats // the nearest first: every process has the same ones
	for _, one := range each {
		requests = append(requests, one.HTTP)
		f.Process.CPU += one.Process.CPU
		f.Process.Memory += one.Process.Memory
		f.Process.Goroutines += one.Process.Goroutines
		for _, layer := range one.Cache {
			i := slices.IndexFunc(layers, func(l kv.LayerStats) bool { return l.Layer == layer.Layer })
			if i < 0 {
				layers = append(layers, layer)
				continue
			}
			layers[i].Hits += layer.Hits
			layers[i].Misses += layer.Misses
			layers[i].Evictions += layer.Evictions
			layers[i].Entries += layer.Entries
			layers[i].Bytes += layer.Bytes
		}
	}
	f.Cache = cacheFigures(layers)
	return observe.SumHTTP(requests...), f
}

func cacheFigures(layers []kv.LayerStats) admin.CacheFigures {
	rate := func(hits, misses uint64) float64 {
		if hits+misses == 0 {
			return 0
		}
		return float64(hits) / float64(hits+misses)
	}
	f := admin.CacheFigures{Layers: []admin.CacheLayer{}}
	var hits uint64
	for _, l := range layers {
		hits += l.Hits
		f.Layers = append(f.Layers, admin.CacheLayer{
			Layer: l.Layer, HitRate: rate(l.Hits, l.Misses), Hits: l.Hits, Misses: l.Misses, Evictions: l.Evictions, Entries: l.Entries, Bytes: l.Bytes,
		})
	}
	if n := len(layers); n > 0 { // what the last layer missed, none had
		f.HitRate = rate(hits, layers[n-1].Misses)
	}
	return f
}
