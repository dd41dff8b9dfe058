package realtime

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
)

// maxDistinct bounds a Distinct.
const maxDistinct = 4096

// Distinct counts the different names of several sets without keeping any name: it is the least hashes of a set, in order, so
// that what two sets share is seen. It is exact up to 4,096 names. Of more it is an estimate, by how close the hashes lie: 1.6 %
// off at the standard deviation, whatever the number.
type Distinct []uint64

// DistinctOf takes names, repeated ones too.
func DistinctOf(names []string) Distinct {
	hashes := make(Distinct, len(names))
	for i, name := range names {
		sum := sha256.Sum256([]byte(name)) // the same in every process, and even
		hashes[i] = binary.BigEndian.Uint64(sum[:])
	}
	return hashes.least()
}

func (d Distinct) least() Distinct {
	slices.Sort(d)
	d = slices.Compact(d)
	return slices.Clip(d[:min(len(d), maxDistinct)])
}

// Union returns the names that are in d or o.
func (d Distinct) Union(o Distinct) Distinct { return slices.Concat(d, o).least() }

// Count returns the number of names.
func (d Distinct) Count() int {
	if len(d) < maxDistinct {
		return len(d)
	}
	return int(math.Round((maxDistinct - 1) / (float64(d[maxDistinct-1]) / math.MaxUint64)))
}
