package account

import (
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// An unknown e-mail must cost what any other does: a hash of the cost of new ones is compared, and never fits.
func TestNobodysHashCostsWhatAnybodysDoes(t *testing.T) {
	t.Parallel()
	for _, cost := range []int{4, 10, 12} {
		h := newHasher(cost, 1)
		if got, err := bcrypt.Cost(h.decoy); err != nil || got != cost {
			t.Errorf("the cost is %d, %v, want %d", got, err, cost)
		}
	}
	h := newHasher(9, 1)
	hash, err := h.hash(t.Context(), "a long enough secret")
	if err != nil {
		t.Fatal(err)
	}
	fastest := func(hash []byte, password string) time.Duration {
		least := time.Hour
		for range 5 {
			start := time.Now()
			if h.matches(hash, password) {
				t.Errorf("%q fits %q", password, hash)
			}
			least = min(least, time.Since(start))
		}
		return least
	}
	known := fastest(hash, "a wrong password")
	for name, took := range map[string]time.Duration{
		"an unknown e-mail":   fastest(nil, "a wrong password"),
		"a password too long": fastest(hash, string(make([]byte, 1000))),
		"no password":         fastest(hash, ""),
	} {
		if took < known/20 { // without a comparison it is a thousandth; a busy machine may double either
			t.Errorf("%s takes %s, a wrong password %s", name, took, known)
		}
	}
}
