package realtime

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestAHistoryIsAQueueOfEvents(t *testing.T) {
	t.Parallel()
	type event struct {
		at   int64
		data []byte
	}
	random := rand.New(rand.NewPCG(1, 2))
	var h history
	var want []event
	total := 0
	for step := range 20_000 {
		// It grows, and is nearly emptied, again and again.
		if grows := step/1000%2 == 0; len(want) == 0 || random.IntN(10) < 3 || grows && random.IntN(10) < 8 {
			e := event{int64(step), bytes.Repeat([]byte{byte(step)}, random.IntN(40))}
			h.add(e.at, e.data)
			want, total = append(want, e), total+len(e.data)
		} else {
			if size := h.dropFirst(); size != len(want[0].data) {
				t.Fatalf("step %d: dropped %d bytes of %d", step, size, len(want[0].data))
			}
			want, total = want[1:], total-len(want[0].data)
		}
		if h.len() != len(want) || h.bytes() != total || len(want) > 0 && h.oldest() != want[0].at {
			t.Fatalf("step %d: %d events, %d bytes; want %d, %d", step, h.len(), h.bytes(), len(want), total)
		}
		if most := 2 * 40 * max(64, 4*len(want)); cap(h.data.array) > most || cap(h.kept.array) > most {
			t.Fatalf("step %d: %d events take %d bytes and %d", step, len(want), cap(h.data.array), cap(h.kept.array))
		}
		skip := random.IntN(len(want) + 1)
		i := skip
		for at, data := range h.after(skip) {
			if at != want[i].at || !bytes.Equal(data, want[i].data) {
				t.Fatalf("step %d: event %d is %d %v, want %v", step, i, at, data, want[i])
			}
			i++
		}
		if i != len(want) {
			t.Fatalf("step %d: %d events after %d, want %d", step, i-skip, skip, len(want)-skip)
		}
	}
}
