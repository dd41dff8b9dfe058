package account_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth"
	"hearth/internal/core/account"
)

// askedKey marks the contexts of the calls that are watched: the store works in the background too.
type askedKey struct{}

// asked is a StoreObserver that notes what watched calls ask the store for.
type asked struct {
	hearth.NoObserver
	mu    sync.Mutex
	names []string
}

func (a *asked) Operation(ctx context.Context, name string, _ time.Duration, _ error) {
	if ctx.Value(askedKey{}) == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.names = append(a.names, name)
}

func (a *asked) take() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	names := a.names
	a.names = nil
	return names
}

// What takes time is the same work for a known and for an unknown e-mail: the same questions to the
// store in the same order, and one password hash of the same cost (TestNobodysHashCostsWhatAnybodysDoes).
func TestKnownAndUnknownEmailsAreTheSameWork(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(o *account.Options) {
		o.SignUp = account.SignUpInvite
		o.Invited = func(context.Context, string) (string, bool, error) { return "", false, nil }
	})
	h.user(email, hearth.RoleUser)
	ctx := context.WithValue(t.Context(), askedKey{}, true)
	for name, try := range map[string]func(email string) error{
		"a login": func(email string) error {
			_, err := h.Login(ctx, here, account.Credentials{Email: email, Password: "a wrong password"})
			return err
		},
		"a sign-up without invitation": func(email string) error {
			_, err := h.SignUp(ctx, here, account.NewUser{Name: "Ann", Email: email, Password: password}, nil)
			return err
		},
	} {
		for range 7 { // past a lock
			h.asked.take()
			known, knownWork := try(email), h.asked.take()
			unknown, unknownWork := try("nobody@example.com"), h.asked.take()
			if diff := cmp.Diff(knownWork, unknownWork); diff != "" {
				t.Errorf("%s: the questions to the store (-known +unknown)\n%s", name, diff)
			}
			if name == "a login" && len(knownWork) == 0 {
				t.Errorf("%s: the store was asked nothing", name)
			}
			if known == nil || unknown == nil || known.Error() != unknown.Error() {
				t.Errorf("%s: %v for a known e-mail, %v for an unknown one", name, known, unknown)
			}
		}
	}
}

// medians times wrong logins of known and of unknown users, in turns, and returns both medians.
func medians(t testing.TB, h *house, rounds int) (known, unknown time.Duration) {
	t.Helper()
	times := [2][]time.Duration{}
	for range rounds {
		for i, who := range []string{email, "nobody@example.com"} {
			start := time.Now()
			_, err := h.Login(t.Context(), here, account.Credentials{Email: who, Password: "a wrong password"})
			times[i] = append(times[i], time.Since(start))
			if hearth.ErrorCode(err) != hearth.CodeInvalidCredentials {
				t.Fatal(err)
			}
		}
		h.clock.advance(16 * time.Minute) // past a lock
	}
	slices.Sort(times[0])
	slices.Sort(times[1])
	return times[0][rounds/2], times[1][rounds/2]
}

// An unknown e-mail without a hash to compare would be answered ten times as fast; BenchmarkLoginTiming measures finely.
func TestKnownAndUnknownEmailsTakeAsLong(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(o *account.Options) { o.BcryptCost = 9 })
	h.user(email, hearth.RoleUser)
	for attempt := 1; ; attempt++ {
		known, unknown := medians(t, h, 11)
		if ratio := float64(unknown) / float64(known); ratio >= 0.5 && ratio <= 2 {
			return
		}
		if attempt == 10 { // a machine that is busy with something else is not so ten times in a row
			t.Fatalf("a known e-mail takes %v, an unknown one %v", known, unknown)
		}
	}
}

// BenchmarkLoginTiming reports by how much the medians of known and unknown e-mails differ, in percent: at most 10.
func BenchmarkLoginTiming(b *testing.B) {
	h := newHouse(b, func(o *account.Options) { o.BcryptCost = 10 })
	if _, err := h.CreateUser(b.Context(), account.NewUser{Name: "Ann", Email: email, Password: password, Role: hearth.RoleUser}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		known, unknown := medians(b, h, 31)
		b.ReportMetric(100*float64(unknown-known)/float64(known), "%apart")
		b.ReportMetric(float64(known.Microseconds()), "µs/login")
	}
}

// BenchmarkResetTiming reports by how much the medians of requests for a new password of known and unknown e-mails differ, in
// percent: at most 10.
func BenchmarkResetTiming(b *testing.B) {
	h := newHouse(b, func(o *account.Options) { o.ResetFloor = 0 }) // 0 is the default
	if _, err := h.CreateUser(b.Context(), account.NewUser{Name: "Ann", Email: email, Password: password, Role: hearth.RoleUser}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		times := [2][]time.Duration{}
		for range 15 {
			for i, who := range []string{email, "nobody@example.com"} {
				start := time.Now()
				if err := h.RequestReset(b.Context(), here, who); err != nil {
					b.Fatal(err)
				}
				times[i] = append(times[i], time.Since(start))
			}
		}
		slices.Sort(times[0])
		slices.Sort(times[1])
		known, unknown := times[0][7], times[1][7]
		b.ReportMetric(100*float64(unknown-known)/float64(known), "%apart")
		b.ReportMetric(float64(known.Microseconds()), "µs/reset")
	}
}
