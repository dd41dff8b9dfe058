package groupcommit_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"hearth/internal/groupcommit"
)

// recorder commits groups, each after a release.
type recorder struct {
	release chan error
	groups  [][]int
}

func newRecorder() *recorder { return &recorder{release: make(chan error)} }

func (r *recorder) commit(group []int) error {
	r.groups = append(r.groups, slices.Clone(group))
	return <-r.release
}

// do runs Do in a goroutine and waits until the call is in.
func do(ctx context.Context, c *groupcommit.Committer[int], calls ...int) chan error {
	result := make(chan error, 1)
	go func() { result <- c.Do(ctx, calls...) }()
	synctest.Wait()
	return result
}

func TestCallsThatWaitShareTheNextCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		c := groupcommit.New(groupcommit.Options[int]{Commit: r.commit})
		first := do(t.Context(), c, 1)
		second, third := do(t.Context(), c, 2), do(t.Context(), c, 3)
		failed := errors.New("the disk is full")
		r.release <- nil
		if err := <-first; err != nil {
			t.Error(err)
		}
		r.release <- failed
		for _, result := range []chan error{second, third} {
			if err := <-result; !errors.Is(err, failed) {
				t.Errorf("the error is %v", err)
			}
		}
		c.Wait()
		if want := [][]int{{1}, {2, 3}}; !slices.EqualFunc(r.groups, want, slices.Equal) {
			t.Errorf("the groups are %v; want %v", r.groups, want)
		}
		last := do(t.Context(), c, 4)
		r.release <- nil
		if err := <-last; err != nil {
			t.Errorf("a call after an idle time: %v", err)
		}
	})
}

func TestGroupsAndWaitingCallsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		c := groupcommit.New(groupcommit.Options[int]{Commit: r.commit, Size: func(n int) int { return n }, MaxGroup: 10, MaxWaiting: 30})
		var results []chan error
		for _, size := range []int{5, 4, 6, 1, 15, 3} { // 5 is under way at once, 4 to 3 wait: 29
			results = append(results, do(t.Context(), c, size))
		}
		if err := c.Do(t.Context()); err != nil {
			t.Errorf("no call: %v", err)
		}
		if err := c.Do(t.Context(), 1, 1); !errors.Is(err, groupcommit.ErrFull) {
			t.Errorf("the error of a call too many is %v", err)
		}
		for range 5 {
			r.release <- nil
		}
		for _, result := range results {
			if err := <-result; err != nil {
				t.Error(err)
			}
		}
		c.Wait()
		if want := [][]int{{5}, {4, 6}, {1}, {15}, {3}}; !slices.EqualFunc(r.groups, want, slices.Equal) {
			t.Errorf("the groups are %v; want %v", r.groups, want)
		}
	})
}

func TestACallWhoseContextEndsIsWithdrawn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		c := groupcommit.New(groupcommit.Options[int]{Commit: r.commit})
		ctx, cancel := context.WithCancel(t.Context())
		begun := do(ctx, c, 1)
		waiting, other := do(ctx, c, 2, 20, 200), do(t.Context(), c, 3, 30)
		cancel()
		for _, result := range []chan error{begun, waiting} {
			if err := <-result; !errors.Is(err, context.Canceled) {
				t.Errorf("the error is %v", err)
			}
		}
		synctest.Wait()
		r.release <- nil
		r.release <- nil
		if err := <-other; err != nil {
			t.Error(err)
		}
		// A group of which nothing remains is not committed.
		only := do(t.Context(), c, 4)
		ctx, cancel = context.WithCancel(t.Context())
		gone := do(ctx, c, 5)
		cancel()
		<-gone
		synctest.Wait()
		r.release <- nil
		<-only
		c.Wait()
		if want := [][]int{{1}, {3, 30}, {4}}; !slices.EqualFunc(r.groups, want, slices.Equal) {
			t.Errorf("the groups are %v; want %v", r.groups, want)
		}
	})
}

func TestAPanicFailsItsGroupAlone(t *testing.T) {
	t.Parallel()
	c := groupcommit.New(groupcommit.Options[int]{Commit: func(group []int) error {
		if slices.Contains(group, 13) {
			panic("unlucky")
		}
		return nil
	}})
	if err := c.Do(t.Context(), 13); err == nil || !strings.Contains(err.Error(), "unlucky") {
		t.Errorf("the error of a panic is %v", err)
	}
	if err := c.Do(t.Context(), 1); err != nil {
		t.Errorf("the call after it: %v", err)
	}
}

func TestEveryCallIsCommittedOnce(t *testing.T) {
	t.Parallel()
	const workers, calls = 16, 500
	var committed [workers * calls]int
	var busy atomic.Bool
	c := groupcommit.New(groupcommit.Options[int]{MaxGroup: 7, Commit: func(group []int) error {
		if !busy.CompareAndSwap(false, true) {
			t.Error("two commits run at once")
		}
		for _, call := range group {
			committed[call]++
		}
		busy.Store(false)
		return nil
	}})
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for n := range calls {
				if err := c.Do(t.Context(), worker*calls+n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for call, times := range committed {
		if times != 1 {
			t.Fatalf("call %d was committed %d times", call, times)
		}
	}
}

func BenchmarkDo(b *testing.B) {
	c := groupcommit.New(groupcommit.Options[int]{Commit: func([]int) error { return nil }})
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := c.Do(context.Background(), 1); err != nil {
				b.Error(err)
			}
		}
	})
}
