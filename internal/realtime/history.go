package realtime

import "iter"

// history is the events of a channel, oldest first. Their bytes lie behind one another in a ring, and what is known of each in
// another: however many events there are, the garbage collector has nothing in them to follow.
type history struct {
	data ring[byte]
	kept ring[keptEvent]
}

// keptEvent is what is known of an event: its time, in milliseconds since 1970, and the length of its data.
type keptEvent struct {
	at   int64
	size int
}

// len returns the number of events.
func (h *history) len() int { return h.kept.n }

// bytes returns the length of all their data.
func (h *history) bytes() int { return h.data.n }

// oldest returns the time of the oldest event; there is one.
func (h *history) oldest() int64 { return h.kept.at(0).at }

// add adds an event, with a copy of its data.
func (h *history) add(at int64, data []byte) {
	h.data.push(data...)
	h.kept.push(keptEvent{at: at, size: len(data)})
}

// dropFirst drops the oldest event, of which there is one, and returns the length of its data.
func (h *history) dropFirst() int {
	size := h.kept.at(0).size
	h.kept.drop(1)
	h.data.drop(size)
	return size
}

// bytesAfter returns the length of the data of all events but the first skip ones.
func (h *history) bytesAfter(skip int) (size int) {
	for i := skip; i < h.len(); i++ {
		size += h.kept.at(i).size
	}
	return size
}

// after returns the times and data of all events but the first skip ones; the data is a copy.
func (h *history) after(skip int) iter.Seq2[int64, []byte] {
	return func(yield func(int64, []byte) bool) {
		data := h.data.copyOf(h.bytes() - h.bytesAfter(skip))
		for i := skip; i < h.len(); i++ {
			e := h.kept.at(i)
			if !yield(e.at, data[:e.size:e.size]) {
				return
			}
			data = data[e.size:]
		}
	}
}

// ring is a queue in one array, which grows and shrinks with what is in it.
type ring[T any] struct {
	array    []T
	start, n int
}

func (r *ring[T]) at(i int) T { return r.array[(r.start+i)%len(r.array)] }

func (r *ring[T]) push(values ...T) {
	if r.n+len(values) > len(r.array) {
		r.resize(max(2*len(r.array), r.n+len(values)))
	}
	end := (r.start + r.n) % max(1, len(r.array))
	copy(r.array, values[copy(r.array[end:], values):])
	r.n += len(values)
}

// drop drops the first count values.
func (r *ring[T]) drop(count int) {
	r.n -= count
	if r.n == 0 {
		*r = ring[T]{}
		return
	}
	r.start = (r.start + count) % len(r.array)
	if r.n < len(r.array)/4 {
		r.resize(len(r.array) / 2)
	}
}

// copyOf returns all values but the first skip ones.
func (r *ring[T]) copyOf(skip int) []T {
	values := make([]T, r.n-skip)
	if len(values) > 0 {
		begin := (r.start + skip) % len(r.array)
		rest := values[copy(values, r.array[begin:]):]
		copy(rest, r.array)
	}
	return values
}

func (r *ring[T]) resize(size int) {
	array := make([]T, size)
	copy(array, r.copyOf(0))
	r.array, r.start = array, 0
}
