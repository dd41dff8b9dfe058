package observe

import (
	"maps"
	"math"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// sparse is the counts of a native histogram. Bucket i of a schema s ends at 2^(i·2^-s) seconds and begins where bucket i-1 ends; zero
// holds what took no time.
type sparse struct {
	schema int32
	counts map[int32]uint64
	zero   uint64
}

// sparseOf reads the native part of a histogram.
func sparseOf(h *dto.Histogram) sparse {
	s := sparse{schema: h.GetSchema(), counts: map[int32]uint64{}, zero: h.GetZeroCount()}
	deltas := h.GetPositiveDelta()
	var at int32
	var count int64
	for _, span := range h.GetPositiveSpan() {
		at += span.GetOffset()
		for range span.GetLength() {
			count += deltas[0]
			deltas = deltas[1:]
			s.counts[at] = uint64(max(0, count))
			at++
		}
	}
	return s
}

// add adds the counts of o. A histogram of many values has wider buckets: the sum has the widest.
func (s *sparse) add(o sparse) {
	if s.counts == nil {
		*s = sparse{schema: o.schema, counts: map[int32]uint64{}}
	}
	for s.schema > o.schema {
		s.widen()
	}
	s.zero += o.zero
	for i, n := range o.counts {
		for range o.schema - s.schema {
			i = wider(i)
		}
		s.counts[i] += n
	}
}

// widen makes one bucket of two.
func (s *sparse) widen() {
	wide := make(map[int32]uint64, len(s.counts))
	for i, n := range s.counts {
		wide[wider(i)] += n
	}
	s.schema, s.counts = s.schema-1, wide
}

// wider gives the bucket that holds bucket i where the buckets are twice as wide.
func wider(i int32) int32 { return (i + 1) >> 1 }

func (s *sparse) latency() Latency {
	return Latency{P50: s.quantile(0.50), P95: s.quantile(0.95), P99: s.quantile(0.99)}
}

// quantile estimates a quantile. It lies in the bucket of the true one, so it is off by less than a bucket's width, whatever
// the distribution: by 4.4 % in schema 4.
func (s *sparse) quantile(q float64) time.Duration {
	total := s.zero
	for _, n := range s.counts {
		total += n
	}
	rank := q * float64(total)
	below := float64(s.zero)
	if total == 0 || rank <= below {
		return 0
	}
	var at time.Duration
	for _, i := range slices.Sorted(maps.Keys(s.counts)) {
		n := float64(s.counts[i])
		if n == 0 {
			continue
		}
		share := min(1, (rank-below)/n)
		at = time.Duration(math.Exp2((float64(i-1)+share)*math.Exp2(-float64(s.schema))) * float64(time.Second))
		if below += n; below >= rank {
			break
		}
	}
	return at
}
