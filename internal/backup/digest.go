package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"

	"hearth"
)

// add counts one record.
func (d *digest) add(record []byte) {
	sum := sha256.Sum256(record)
	d.records++
	d.low += binary.LittleEndian.Uint64(sum[:8])
	d.top += binary.LittleEndian.Uint64(sum[8:16])
}

// addLogs counts logs: time, number, device, value (8 bytes each, little-endian) and event; of what is no number also a zero, the kind
// and the string.
func (d *digest) addLogs(entries []hearth.LogEntry) {
	var buffer [32 + hearth.MaxEvent]byte
	for i := range entries {
		e := &entries[i]
		binary.LittleEndian.PutUint64(buffer[0:], uint64(e.At))
		binary.LittleEndian.PutUint64(buffer[8:], e.Seq)
		binary.LittleEndian.PutUint64(buffer[16:], uint64(e.Device))
		binary.LittleEndian.PutUint64(buffer[24:], math.Float64bits(e.Value.Number()))
		record := buffer[:32+copy(buffer[32:], e.Event)]
		if kind := e.Value.Kind(); kind != hearth.NumberKind {
			record = append(append(slices.Clone(record), 0, byte(kind)), e.Value.Text()...)
		}
		d.add(record)
	}
}
