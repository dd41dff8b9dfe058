package account

import (
	"fmt"
	"sync"
	"testing"
)

func TestWhatWasReadBeforeAChangeIsNotKept(t *testing.T) {
	t.Parallel()
	m := newBoundedMap[string, int](1000)
	_, _, version := m.find("a")
	if !m.putIf(version, "a", 1) {
		t.Fatal("nothing changed, but the value was refused")
	}
	_, _, version = m.find("a")
	m.force("a", 2)
	if m.putIf(version, "a", 1) {
		t.Error("an old value was put over a forced one")
	}
	if value, ok, _ := m.find("a"); !ok || value != 2 {
		t.Errorf("the value is %d, %v", value, ok)
	}
	_, _, version = m.find("a")
	m.removeIf(func(value int) bool { return value == 2 })
	if m.putIf(version, "a", 2) {
		t.Error("a removed value was put back")
	}
	if _, ok, _ := m.find("a"); ok {
		t.Error("the value is still there")
	}
}

func TestABoundedMapStaysBounded(t *testing.T) {
	t.Parallel()
	const size = 640
	m := newBoundedMap[string, int](size)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for n := range 5000 {
				key := fmt.Sprint(worker, n)
				if _, _, version := m.find(key); n%2 == 0 {
					m.putIf(version, key, n)
				} else {
					m.force(key, n)
				}
			}
		})
	}
	wg.Wait()
	held := 0
	m.removeIf(func(int) bool { held++; return true })
	if held == 0 || held > size {
		t.Errorf("%d entries are held, of at most %d", held, size)
	}
}
