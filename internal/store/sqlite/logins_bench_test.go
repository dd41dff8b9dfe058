package sqlite

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"hearth"
)

// BenchmarkHeartbeatsBesideLogins reports the p99 of 500 heartbeats/s: alone, beside what 11 logins/s write, beside a goroutine
// that hashes passwords, and beside both. It tells which part of a login devices feel. Each run takes four seconds.
func BenchmarkHeartbeatsBesideLogins(b *testing.B) {
	for _, tt := range []struct {
		name           string
		writes, hashes bool
	}{{"alone", false, false}, {"writes", true, false}, {"hashes", false, true}, {"both", true, true}} {
		b.Run(tt.name, func(b *testing.B) {
			s := openTest(b)
			keys := loginBench(b, s)
			for b.Loop() {
				ctx, cancel := context.WithCancel(b.Context())
				var beside sync.WaitGroup
				if tt.writes {
					beside.Go(func() { signInUntil(ctx, b, s) })
				}
				if tt.hashes {
					beside.Go(func() {
						for ctx.Err() == nil {
							if _, err := bcrypt.GenerateFromPassword([]byte("a password"), bcrypt.DefaultCost); err != nil {
								b.Error(err)
							}
						}
					})
				}
				p99 := beatFor(b, s, keys)
				cancel()
				beside.Wait()
				b.ReportMetric(float64(p99.Microseconds())/1000, "p99-ms")
			}
		})
	}
}

// loginBench stores a person and a thousand devices, and returns their keys.
func loginBench(b *testing.B, s *Store) (keys []int64) {
	b.Helper()
	now := time.Now()
	person := hearth.User{ID: "ann", Name: "Ann", Email: "ann@example.com", Role: hearth.RoleUser, PasswordHash: []byte("x"), CreatedAt: now, UpdatedAt: now}
	if err := s.CreateUser(b.Context(), person, hearth.SideEffects{}); err != nil {
		b.Fatal(err)
	}
	devices := make([]hearth.Device, 1000)
	for i := range devices {
		devices[i] = hearth.Device{
			ID: fmt.Sprint("device", i), Name: "n", Type: "t", Status: hearth.StatusActive, Interval: 60, OwnerID: person.ID, CreatedAt: now, UpdatedAt: now,
		}
	}
	devices, err := s.CreateDevices(b.Context(), devices, hearth.SideEffects{})
	if err != nil {
		b.Fatal(err)
	}
	for _, d := range devices {
		keys = append(keys, d.Key)
	}
	return keys
}

// beatFor sends 500 heartbeats/s for four seconds and returns the p99, counted from when each was due.
func beatFor(b *testing.B, s *Store, keys []int64) time.Duration {
	b.Helper()
	const n, step = 2000, 2 * time.Millisecond
	took := make([]time.Duration, n)
	var beats sync.WaitGroup
	start := time.Now()
	for i := range n {
		due := start.Add(time.Duration(i) * step)
		time.Sleep(time.Until(due))
		beats.Go(func() {
			beat := hearth.Heartbeat{Key: keys[i*131%len(keys)], At: time.Now(), Status: hearth.StatusActive}
			if err := s.RecordHeartbeats(context.WithoutCancel(b.Context()), []hearth.Heartbeat{beat}); err != nil {
				b.Error(err)
			}
			took[i] = time.Since(due)
		})
	}
	beats.Wait()
	slices.Sort(took)
	return took[n*99/100]
}

// signInUntil writes what a login writes, eleven times a second: the try, then everything else in one step.
func signInUntil(ctx context.Context, b *testing.B, s *Store) {
	b.Helper()
	tick := time.NewTicker(time.Second / 11)
	defer tick.Stop()
	for ctx.Err() == nil {
		now, id := time.Now(), fmt.Sprint(time.Now().UnixNano())
		_, err := s.UpdateTries(b.Context(), []byte("tries"), func(t hearth.Tries) (hearth.Tries, hearth.SideEffects, error) {
			t.Failed, t.UpdatedAt = t.Failed+1, now
			return t, hearth.SideEffects{}, nil
		})
		if err != nil {
			b.Error(err)
		}
		session := hearth.Session{
			ID: id, UserID: "ann", Device: []byte("0123456789abcdef"), Origin: []byte("192.0.2.1 a browser"), CreatedAt: now, LastUsedAt: now,
			ExpiresAt: now.Add(time.Hour),
		}
		entry := hearth.AuditEntry{At: now, ActorID: "user:ann", Action: "auth.login", Target: "user:ann", Result: "ok"}
		_, _, err = s.CreateSession(b.Context(), hearth.NewSession{
			Session: session, RefreshHash: []byte(id), Decide: func(u hearth.User, _, _ bool) (hearth.UserChange, error) {
				u.LastLoginAt = now
				return hearth.UserChange{User: u, ClearTries: [][]byte{[]byte("tries")}, SideEffects: hearth.SideEffects{Audit: []hearth.AuditEntry{entry}}}, nil
			},
		})
		if err != nil {
			b.Error(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}
