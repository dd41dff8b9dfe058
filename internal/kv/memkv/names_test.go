package memkv

import (
	"context"
	"fmt"
	"testing"
	"time"

	"hearth/internal/kv"
)

func TestNamesAreForgottenWithTheLastValueThatHasThem(t *testing.T) {
	t.Parallel()
	c, err := NewCache(CacheOptions{Bytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		_, err := c.Load(t.Context(), fmt.Sprint("k:", i%700), kv.Options{TTL: time.Hour, Tags: []string{fmt.Sprint("tag ", i)}},
			func(context.Context) ([]byte, error) { return make([]byte, 500), nil })
		if err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			c.Invalidate(t.Context(), fmt.Sprint("tag ", i-1))
		}
	}
	c.entries.CleanUp()
	// Each value has a tag and its key, and all share one beginning.
	if names, most := c.names.count(), 2*c.entries.EstimatedSize()+1; names > most {
		t.Errorf("%d names for %d values, want %d at most", names, c.entries.EstimatedSize(), most)
	}
	c.entries.InvalidateAll()
	if n := c.names.count(); n != 0 {
		t.Errorf("%d names for no value", n)
	}
}

// count returns how many names are known.
func (n *names) count() (total int) {
	for i := range n.shards {
		n.shards[i].mu.Lock()
		total += len(n.shards[i].watches)
		n.shards[i].mu.Unlock()
	}
	return total
}
